//! Networks: their files, their layers, and models on disk.

mod features;
mod head;
mod linear;
mod model;
mod norm;
mod spec;
mod store;

pub(crate) use features::parts;
pub use features::{FeatureLayer, FeatureSource};
pub use head::{Head, HeadKind, Hidden, cross_entropy, softmax_rows};
pub use linear::Linear;
pub use model::{Model, Pretraining, Provenance, RuleRecord};
pub use norm::{BatchNorm, Normalised, Statistics};
#[cfg(feature = "vulkan")]
pub(crate) use norm::{EPS as NORM_EPS, FORGOTTEN as NORM_FORGOTTEN, MOMENTUM as NORM_MOMENTUM};
pub use spec::{BlockSpec, Kernel, MapWord, NetworkSpec, NormKind, PRESETS, toml_problem};
pub use store::{Tensors, write_atomically};

use std::ops::Range;
use std::path::Path;

use hebbian_data::seed;
use rand::RngExt;

use crate::error::{Error, Result};
use crate::ops::{Activation, Geometry, Response, Workspace, block_forward};
use crate::rules::Projection;
use crate::update::{reciprocals, row_norms};

/// A layer with its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Its shapes.
    pub geometry: Geometry,
    /// Weights, C x D; D runs over kernel row, kernel column, channel.
    pub weights: Vec<f32>,
    /// Shift of each neuron before its activation, C; none as published for
    /// Hebbian layers.
    pub bias: Option<Vec<f32>>,
    /// Normalisation of its output.
    pub norm: BatchNorm,
    /// Running variances of its projections, C, for a rule that adapts.
    pub variances: Option<Vec<f32>>,
}

/// The layers `L1`, `L2`, ... of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// What it was built from.
    pub spec: NetworkSpec,
    /// Projection of every layer's forward pass.
    pub projection: Projection,
    /// Activation of every layer.
    pub activation: Activation,
    /// Its layers.
    pub blocks: Vec<Block>,
}

impl Block {
    /// Scales of the projection: reciprocal weight norms, or none.
    pub fn scale(&self, projection: Projection) -> Option<Vec<f32>> {
        match projection {
            Projection::Plain => None,
            Projection::Normalised => {
                Some(reciprocals(&row_norms(&self.weights, self.geometry.patch_len())))
            }
        }
    }

    /// From its projections to its responses.
    pub fn response<'a>(
        &'a self,
        scale: Option<&'a [f32]>,
        activation: Activation,
    ) -> Response<'a> {
        Response { scale, bias: self.bias.as_deref(), activation }
    }
}

impl Network {
    /// A network with random weights (and biases, where a layer has them),
    /// uniform in `+-1/sqrt(D)` as published, from the stream `init` of `seed`.
    pub fn new(
        spec: NetworkSpec,
        projection: Projection,
        activation: Activation,
        seed: u64,
    ) -> Result<Self> {
        let kinds: Vec<_> = spec.blocks.iter().map(|block| block.norm).collect();
        let blocks = spec.geometries()?.into_iter().zip(kinds).enumerate();
        let blocks = blocks
            .map(|(index, (geometry, kind))| {
                let mut rng = seed::stream(seed, &format!("init/L{}", index + 1));
                let bound = 1.0 / (geometry.patch_len() as f32).sqrt();
                let weights =
                    (0..geometry.weight_len()).map(|_| rng.random_range(-bound..bound)).collect();
                let bias = spec.blocks[index].bias.then(|| {
                    (0..geometry.filters).map(|_| rng.random_range(-bound..bound)).collect()
                });
                let norm = BatchNorm::new(kind, geometry.filters);
                Block { geometry, weights, bias, norm, variances: None }
            })
            .collect();
        Ok(Self { spec, projection, activation, blocks })
    }

    /// Adds its numbers to tensors: `PREFIXL1.weight` (C x k x k x channels),
    /// `PREFIXL1.bias` and `PREFIXL1.variances` where there are any,
    /// `PREFIXL1.norm.gamma` and so on.
    pub(crate) fn write(&self, prefix: &str, tensors: &mut Tensors) {
        for (index, block) in self.blocks.iter().enumerate() {
            let (g, layer) = (&block.geometry, format!("{prefix}L{}", index + 1));
            let shape = [g.filters, g.kernel, g.kernel, g.channels];
            tensors.insert(format!("{layer}.weight"), &shape, &block.weights);
            if let Some(bias) = &block.bias {
                tensors.insert(format!("{layer}.bias"), &[bias.len()], bias);
            }
            block.norm.write(&format!("{layer}.norm"), tensors);
            if let Some(variances) = &block.variances {
                tensors.insert(format!("{layer}.variances"), &[variances.len()], variances);
            }
        }
    }

    /// Takes them out again; `path` is for messages.
    ///
    /// # Errors
    /// If the network cannot be, or a tensor is missing, of another shape, or
    /// holds what it must not.
    pub(crate) fn read(
        spec: NetworkSpec,
        projection: Projection,
        activation: Activation,
        prefix: &str,
        path: &Path,
        tensors: &mut Tensors,
    ) -> Result<Self> {
        let geometries = spec.geometries()?;
        let layers = geometries.into_iter().zip(&spec.blocks).enumerate();
        let blocks = layers.map(|(index, (g, block))| {
            let layer = format!("{prefix}L{}", index + 1);
            let shape = [g.filters, g.kernel, g.kernel, g.channels];
            let weights = tensors.take(path, &format!("{layer}.weight"), &shape)?;
            let name = format!("{layer}.norm");
            let norm = BatchNorm::read(block.norm, g.filters, &name, path, tensors)?;
            let bias = match block.bias {
                true => Some(tensors.take(path, &format!("{layer}.bias"), &[g.filters])?),
                false => None,
            };
            let name = format!("{layer}.variances");
            let variances = match tensors.get(&name).is_some() {
                true => Some(tensors.take(path, &name, &[g.filters])?),
                false => None,
            };
            if variances.iter().flatten().any(|&variance| variance < 0.0) {
                let problem = format!("the tensor '{name}' holds a negative variance");
                return Err(Error::file(path, problem));
            }
            Ok(Block { geometry: g, weights, bias, norm, variances })
        });
        let blocks = blocks.collect::<Result<_>>()?;
        Ok(Self { spec, projection, activation, blocks })
    }

    /// With the variances, all 1, that a rule that adapts starts from.
    #[must_use]
    pub(crate) fn adapting(mut self, adapts: bool) -> Self {
        for block in self.blocks.iter_mut().filter(|_| adapts) {
            block.variances = Some(vec![1.0; block.geometry.filters]);
        }
        self
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// Length of the features of layer `depth` (1 for `L1`).
    pub fn feature_len(&self, depth: usize) -> usize {
        self.blocks[depth - 1].geometry.output_len()
    }

    /// Height, width and channels of the map of layer `depth` (1 for `L1`).
    pub fn map_shape(&self, depth: usize) -> [usize; 3] {
        let g = &self.blocks[depth - 1].geometry;
        [g.pooled_height(), g.pooled_width(), g.filters]
    }

    /// Depth of a layer by its name, `L1` to the last.
    pub fn depth_of(&self, layer: &str) -> Result<usize> {
        let depth = layer.strip_prefix(['L', 'l']).and_then(|n| n.parse::<usize>().ok());
        depth.filter(|n| (1..=self.depth()).contains(n)).ok_or_else(|| {
            let problem =
                format!("'{layer}' is no layer of this network; it has L1 to L{}", self.depth());
            Error::config("layer", problem)
        })
    }

    /// The network up to layer `depth`.
    #[must_use]
    pub fn cut(mut self, depth: usize) -> Self {
        self.blocks.truncate(depth);
        self.spec.blocks.truncate(depth);
        self
    }

    /// The layers `depths`, from 0, as a network whose input is the map of the
    /// layer before them.
    pub(crate) fn part(&self, depths: Range<usize>) -> Self {
        let mut spec = self.spec.clone();
        if depths.start > 0 {
            spec.input = self.map_shape(depths.start);
        }
        spec.blocks = spec.blocks[depths.clone()].to_vec();
        Self { spec, blocks: self.blocks[depths].to_vec(), ..*self }
    }

    /// Features of layer `depth` with the running statistics.
    ///
    /// # Shapes
    /// `x`: batch x height x width x 3; result: batch x feature length, each
    /// image's map in the order height, width, channel.
    pub fn features(&self, depth: usize, x: &[f32], workspace: &mut Workspace) -> Vec<f32> {
        let [mut map, mut spare] = workspace.take_maps();
        self.map_into(depth, x, &mut map, &mut spare, workspace);
        let features = map.clone();
        workspace.keep_maps([map, spare]);
        features
    }

    /// The map of layer `depth`, into `map`; nothing is written at depth 0.
    pub(crate) fn map_into(
        &self,
        depth: usize,
        x: &[f32],
        map: &mut Vec<f32>,
        spare: &mut Vec<f32>,
        workspace: &mut Workspace,
    ) {
        let batch = x.len() / self.blocks[0].geometry.input_len();
        for (index, block) in self.blocks[..depth].iter().enumerate() {
            let g = &block.geometry;
            spare.resize(batch * g.output_len(), 0.0);
            let input = if index == 0 { x } else { &map[..] };
            let (weights, scale) = (&block.weights, block.scale(self.projection));
            let response = block.response(scale.as_deref(), self.activation);
            block_forward(g, batch, input, weights, &response, workspace, spare, None);
            block.norm.infer(spare);
            std::mem::swap(map, spare);
        }
    }
}
