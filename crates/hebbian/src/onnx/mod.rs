//! Models for other programs: a model as an ONNX file, from the pixels of images to features
//! and scores. Operators are those of opset 13, which runtimes have had since 2020.

mod graph;
mod messages;

use std::ops::Range;

use hebbian_data::preprocess::{PATCH, Zca};
use hebbian_data::{Preprocess, Whitening};
use prost::Message;

use self::graph::{Builder, int, ints};
use self::messages::{Entry, FLOAT, OperatorSet, UINT8};
use crate::error::{Error, Result};
use crate::network::{
    BatchNorm, Block, FeatureLayer, FeatureSource, Head, Hidden, Linear, Model, NormKind, parts,
};
use crate::ops::Activation;

/// Version of the format, and of the operators.
const VERSIONS: (i64, i64) = (7, 13);
/// Most bytes of a file: protocol buffers have no longer messages.
const MOST: usize = i32::MAX as usize;
/// What goes in.
const IMAGES: &str = "images";

/// A model as the contents of an ONNX file.
///
/// In go `images`, bytes, N x height x width x 3 (RGB), of the size of [`Model::preprocess`];
/// everything after that, normalisation and whitening too, is in the graph. Out come `features`,
/// N x their length, numbers in the order of [`FeatureLayer::features`], and, unless a layer is
/// asked for, `scores`, N x classes, where the model has a classifier (its largest is the class;
/// their softmax is what `hebb predict` calls probability). The features are those of the layer,
/// and what follows it is left out; without one, those of the last. The classes' names, as JSON,
/// the layer's name and the model's fingerprint are among the file's metadata.
///
/// # Errors
/// [`Error::Data`] if there is no operator for the model's preprocessing (hl-22 on images whose
/// sides are above 32 and no multiples of it), or the file would be 2 GiB or more;
/// [`Error::Config`] if a code is asked of a model without a hidden layer.
pub fn to_onnx(model: &Model, layer: Option<FeatureLayer>) -> Result<Vec<u8>> {
    let mut graph = Builder::default();
    let head = model.head.as_ref().filter(|_| layer.is_none());
    let layer = layer.unwrap_or(FeatureLayer::layer(model.network.depth()));
    let mut map = preprocess(&mut graph, &model.preprocess)?;
    for (index, block) in model.network.blocks[..layer.depth(model)].iter().enumerate() {
        map = self::block(&mut graph, &format!("L{}", index + 1), block, model, &map);
    }
    let features = features(&mut graph, model, layer, &map)?;
    let about = format!("{layer}; maps in the order height, width, channel");
    graph.output("features", about, &features, layer.len(model));
    if let Some(head) = head {
        let scores = scores(&mut graph, head, &features);
        let about = "by class; softmax gives probabilities".to_owned();
        graph.output("scores", about, &scores, head.classes());
    }
    let size = model.preprocess.size;
    let entry = |key: &str, value: String| Entry { key: key.to_owned(), value };
    let mut metadata_props =
        vec![entry("layer", layer.to_string()), entry("fingerprint", model.fingerprint()?)];
    if head.is_some() {
        let classes = serde_json::to_string(&model.classes)
            .map_err(|e| Error::Data(format!("the classes cannot be written: {e}")))?;
        metadata_props.push(entry("classes", classes));
    }
    let file = messages::Model {
        ir_version: VERSIONS.0,
        producer_name: "hebb".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: format!(
            "images: bytes, N x {} x {} x 3, RGB; larger ones are scaled until the shorter side \
             fits, by an antialiased bilinear filter, and cut to the centre",
            size.height, size.width
        ),
        graph: Some(graph.finish(&model.network.spec.name)),
        opset_import: vec![OperatorSet { domain: String::new(), version: VERSIONS.1 }],
        metadata_props,
    };
    let bytes = file.encoded_len();
    if bytes > MOST {
        let problem = format!(
            "the model has {bytes} bytes and an ONNX file at most {MOST}; take an earlier layer"
        );
        return Err(Error::Data(problem));
    }
    Ok(file.encode_to_vec())
}

/// From bytes (N x height x width x 3) to the input of `L1`, channels first as ONNX has it.
fn preprocess(graph: &mut Builder, preprocess: &Preprocess) -> Result<String> {
    let size = preprocess.size;
    let shape = [size.height, size.width, 3];
    graph.input(IMAGES, "RGB, 0 to 255".to_owned(), UINT8, &shape);
    let floats = graph.node("Cast", "pixels", &[IMAGES], vec![int("to", FLOAT.into())]);
    let most = graph.numbers("pixels.most", &[], &[255.0]);
    let pixels = graph.node("Div", "pixels.share", &[&floats, &most], Vec::new());
    let mut normalised = || {
        let mean = graph.numbers("pixels.mean", &[3], &preprocess.mean);
        let std = graph.numbers("pixels.std", &[3], &preprocess.std);
        let centred = graph.node("Sub", "pixels.centred", &[&pixels, &mean], Vec::new());
        graph.node("Div", "pixels.normalised", &[&centred, &std], Vec::new())
    };
    let input = match &preprocess.whitening {
        None => normalised(),
        Some(zca) if zca.kind == Whitening::Hl21 => {
            let dim = zca.dim();
            let flat = graph.node("Flatten", "pixels.flat", &[&pixels], vec![int("axis", 1)]);
            let mean = graph.numbers("whitening.mean", &[dim], &zca.mean);
            let centred = graph.node("Sub", "pixels.centred", &[&flat, &mean], Vec::new());
            let white = whitened(graph, zca, &centred);
            let back = [-1, size.height as i64, size.width as i64, 3];
            reshaped(graph, "pixels.whitened", &white, &back)
        }
        Some(zca) => {
            let pixels = normalised();
            let patch =
                if zca.dim() == size.bytes() { [size.height, size.width] } else { [PATCH; 2] };
            let [down, across] = [size.height / patch[0], size.width / patch[1]];
            if [down * patch[0], across * patch[1]] != [size.height, size.width] {
                let problem = format!(
                    "whitening hl-22 scales images of {size} to multiples of {PATCH} and back, for \
                     which ONNX has no operator; train with --set whitening=none, or with sides \
                     that are multiples of {PATCH}"
                );
                return Err(Error::Data(problem));
            }
            let [y, x, down, across] = [patch[0], patch[1], down, across].map(|n| n as i64);
            let cut = [-1, down, y, across, x, 3];
            let cut = reshaped(graph, "pixels.cut", &pixels, &cut);
            let swap = vec![ints("perm", [0, 1, 3, 2, 4, 5])];
            let patches = graph.node("Transpose", "pixels.patches", &[&cut], swap.clone());
            let rows = reshaped(graph, "pixels.rows", &patches, &[-1, y * x * 3]);
            let white = whitened(graph, zca, &rows);
            let patches = [-1, down, across, y, x, 3];
            let patches = reshaped(graph, "pixels.white_patches", &white, &patches);
            let joined = graph.node("Transpose", "pixels.joined", &[&patches], swap);
            let back = [-1, size.height as i64, size.width as i64, 3];
            reshaped(graph, "pixels.whitened", &joined, &back)
        }
    };
    Ok(graph.node("Transpose", "pixels.map", &[&input], vec![ints("perm", [0, 3, 1, 2])]))
}

fn whitened(graph: &mut Builder, zca: &Zca, rows: &str) -> String {
    let matrix = graph.numbers("whitening.matrix", &[zca.dim(); 2], &zca.matrix);
    graph.node("MatMul", "pixels.white", &[rows, &matrix], Vec::new())
}

fn reshaped(graph: &mut Builder, name: &str, from: &str, sides: &[i64]) -> String {
    let shape = graph.shape(&format!("{name}.shape"), sides);
    graph.node("Reshape", name, &[from, &shape], Vec::new())
}

/// A layer: convolution, activation, max-pooling, normalisation.
fn block(graph: &mut Builder, name: &str, block: &Block, model: &Model, map: &str) -> String {
    let (g, dim) = (&block.geometry, block.geometry.patch_len());
    let scale = block.scale(model.projection());
    // From kernel row, kernel column, channel to channel, kernel row, kernel column.
    let area = g.kernel * g.kernel;
    let mut weights = vec![0.0; block.weights.len()];
    let filters = weights.chunks_exact_mut(dim).zip(block.weights.chunks_exact(dim)).enumerate();
    for (neuron, (to, from)) in filters {
        let scale = scale.as_ref().map_or(1.0, |scale| scale[neuron]);
        for (place, channels) in from.chunks_exact(g.channels).enumerate() {
            for (channel, &weight) in channels.iter().enumerate() {
                to[channel * area + place] = scale * weight;
            }
        }
    }
    let shape = [g.filters, g.channels, g.kernel, g.kernel];
    let weights = graph.numbers(&format!("{name}.weight"), &shape, &weights);
    let mut inputs = vec![map.to_owned(), weights];
    if let Some(bias) = &block.bias {
        inputs.push(graph.numbers(&format!("{name}.bias"), &[g.filters], bias));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let attributes = vec![
        ints("kernel_shape", [g.kernel; 2]),
        ints("strides", [g.stride; 2]),
        ints("pads", [g.padding; 4]),
    ];
    let projected = graph.node("Conv", &format!("{name}.projected"), &inputs, attributes);
    let activation = match model.network.activation {
        Activation::Relu => "Relu",
        Activation::Tanh => "Tanh",
    };
    let mut map = graph.node(activation, &format!("{name}.response"), &[&projected], Vec::new());
    if g.pool > 1 {
        let window = vec![ints("kernel_shape", [g.pool; 2]), ints("strides", [g.pool; 2])];
        map = graph.node("MaxPool", &format!("{name}.pooled"), &[&map], window);
    }
    normalised(graph, name, &block.norm, &map, &[g.filters, 1, 1])
}

/// By the running statistics; `shape` is that of a number a channel, beside the values.
fn normalised(
    graph: &mut Builder,
    name: &str,
    norm: &BatchNorm,
    values: &str,
    shape: &[usize],
) -> String {
    let (scale, shift) = norm.running_affine();
    let scale = graph.numbers(&format!("{name}.norm.scale"), shape, &scale);
    let shift = graph.numbers(&format!("{name}.norm.shift"), shape, &shift);
    let scaled = graph.node("Mul", &format!("{name}.scaled"), &[values, &scale], Vec::new());
    let normalised = format!("{name}.normalised");
    let normalised = graph.node("Add", &normalised, &[&scaled, &shift], Vec::new());
    match norm.kind {
        NormKind::Batch | NormKind::Relative => normalised,
        NormKind::BatchRelu => {
            graph.node("Relu", &format!("{name}.rectified"), &[&normalised], Vec::new())
        }
    }
}

/// The features of a map, as [`FeatureLayer::features`] has them.
fn features(graph: &mut Builder, model: &Model, layer: FeatureLayer, map: &str) -> Result<String> {
    let mut features = match (layer.source, layer.pool.zip(layer.map(model))) {
        (FeatureSource::Code | FeatureSource::BinaryCode, _) => {
            let hidden = model.head.as_ref().and_then(|head| head.hidden.as_ref());
            let hidden = hidden.ok_or_else(|| layer.without_code())?;
            let features = flat(graph, map);
            code(graph, hidden, &features)
        }
        (_, Some((n, [height, width, _]))) => {
            let map = averages(graph, map, [height, width], n.get());
            flat(graph, &map)
        }
        (_, None) => flat(graph, map),
    };
    if layer.source == FeatureSource::BinaryCode {
        let zero = graph.numbers("zero", &[], &[0.0]);
        let bits = graph.node("GreaterOrEqual", "bits", &[&features, &zero], Vec::new());
        features = graph.node("Cast", "code_binary", &[&bits], vec![int("to", FLOAT.into())]);
    }
    if layer.unit {
        // What is all 0 stays as it is.
        let sides = vec![ints("axes", [1]), int("keepdims", 1)];
        let length = graph.node("ReduceL2", "length", &[&features], sides);
        let least = graph.numbers("length.least", &[], &[f32::MIN_POSITIVE]);
        let length = graph.node("Max", "length.above_0", &[&length, &least], Vec::new());
        features = graph.node("Div", "unit", &[&features, &length], Vec::new());
    }
    Ok(features)
}

/// A map, channels last, as a row an image.
fn flat(graph: &mut Builder, map: &str) -> String {
    let last = vec![ints("perm", [0, 2, 3, 1])];
    let last = graph.node("Transpose", "map.channels_last", &[map], last);
    graph.node("Flatten", "map.flat", &[&last], vec![int("axis", 1)])
}

/// Averages of a map over `n` by `n` parts, which may overlap: a product from either side.
fn averages(graph: &mut Builder, map: &str, [height, width]: [usize; 2], n: usize) -> String {
    let share =
        |part: &Range<usize>, i| if part.contains(&i) { 1.0 / part.len() as f32 } else { 0.0 };
    let rows = parts(height, n).flat_map(|part| (0..height).map(move |i| share(&part, i)));
    let columns = (0..width).flat_map(|i| parts(width, n).map(move |part| share(&part, i)));
    let (rows, columns): (Vec<f32>, Vec<f32>) = (rows.collect(), columns.collect());
    let rows = graph.numbers("average.rows", &[height.min(n), height], &rows);
    let columns = graph.numbers("average.columns", &[width, width.min(n)], &columns);
    let across = graph.node("MatMul", "map.across", &[map, &columns], Vec::new());
    graph.node("MatMul", "map.averages", &[&rows, &across], Vec::new())
}

fn linear(graph: &mut Builder, name: &str, linear: &Linear, x: &str) -> String {
    let shape = [linear.outputs(), linear.inputs()];
    let weights = graph.numbers(&format!("{name}.weight"), &shape, &linear.weights);
    let bias = graph.numbers(&format!("{name}.bias"), &shape[..1], &linear.bias);
    graph.node("Gemm", &format!("{name}.out"), &[x, &weights, &bias], vec![int("transB", 1)])
}

/// The output of a classifier's hidden layer.
fn code(graph: &mut Builder, hidden: &Hidden, features: &str) -> String {
    let units = linear(graph, "head.hidden", &hidden.linear, features);
    let units = graph.node("Relu", "head.hidden.response", &[&units], Vec::new());
    normalised(graph, "head.hidden", &hidden.norm, &units, &[hidden.norm.gamma.len()])
}

fn scores(graph: &mut Builder, head: &Head, features: &str) -> String {
    match &head.hidden {
        Some(hidden) => {
            let code = code(graph, hidden, features);
            linear(graph, "head", &head.out, &code)
        }
        None => linear(graph, "head", &head.out, features),
    }
}
