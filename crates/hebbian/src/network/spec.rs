//! Network files: what a network is, before it has weights.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ops::Geometry;

/// Presets by name.
pub const PRESETS: &[(&str, &str)] = &[
    ("cifar-6", include_str!("presets/cifar-6.toml")),
    ("cifar-6-backprop", include_str!("presets/cifar-6-backprop.toml")),
    ("imagenet-10", include_str!("presets/imagenet-10.toml")),
    ("vgg-11", include_str!("presets/vgg-11.toml")),
    ("vgg-16", include_str!("presets/vgg-16.toml")),
];

/// Largest number of weights a network may have, so that a mistyped file is
/// refused before memory is asked for: 2^30, 4 GiB.
const MAX_WEIGHTS: usize = 1 << 30;

/// A network as its file describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// Height, width and channels of the images it takes.
    pub input: [usize; 3],
    /// Its layers, `L1` first.
    #[serde(rename = "block")]
    pub blocks: Vec<BlockSpec>,
}

/// A layer: convolution, activation, max-pooling, normalisation, in that
/// order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSpec {
    /// Neurons, that is output channels.
    pub filters: usize,
    /// Side of the square kernel, or `"map"`.
    pub kernel: Kernel,
    /// Step of the kernel.
    #[serde(default = "one")]
    pub stride: usize,
    /// Zeros added on each side.
    #[serde(default)]
    pub padding: usize,
    /// Side of the max-pooling window; 1 for none.
    #[serde(default = "one")]
    pub pool: usize,
    /// Normalisation of the output.
    pub norm: NormKind,
    /// Whether its neurons have a bias, as those of the published baselines.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bias: bool,
}

fn one() -> usize {
    1
}

/// Side of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a kernel is a whole number or \"map\"")]
pub enum Kernel {
    /// So many positions.
    Side(usize),
    /// As large as the (square) map: a fully connected layer.
    Map(MapWord),
}

/// The word `"map"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapWord {
    /// `"map"`
    #[serde(rename = "map")]
    Map,
}

/// Normalisation of a layer's output over the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormKind {
    /// Batch normalisation.
    Batch,
    /// Batch normalisation that keeps the channels' relative variance: the
    /// output times `sqrt((var_c + eps) / (mean(var) + eps))` of the running
    /// variances (the published code's "modified" batch norm).
    Relative,
    /// Batch normalisation, then ReLU, as in the published VGG networks. The
    /// activation before pooling remains.
    BatchRelu,
}

/// Most numbers an image's map may have after a layer: 2^24, 64 MiB.
const MAX_MAP: usize = 1 << 24;

impl NetworkSpec {
    /// A preset by name, or a network file by path.
    ///
    /// # Errors
    /// If there is neither such a preset nor such a file, or the file does not
    /// parse; the message names the line.
    pub fn find(name_or_path: &str) -> Result<Self> {
        if let Some((_, text)) = PRESETS.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text, Path::new(name_or_path));
        }
        let path = Path::new(name_or_path);
        if !path.exists() {
            let known: Vec<_> = PRESETS.iter().map(|(name, _)| *name).collect();
            let known = known.join(", ");
            let problem = format!("'{name_or_path}' is neither a preset ({known}) nor a file");
            return Err(Error::config("network", problem));
        }
        Self::parse(&fs_err::read_to_string(path)?, path)
    }

    /// Parses and checks a network file; `path` is for messages only.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let spec: Self =
            toml::from_str(text).map_err(|e| Error::file(path, toml_problem(&e, text)))?;
        spec.geometries()?;
        Ok(spec)
    }

    /// The first layer with a bias, by name. Hebbian rules do not learn biases.
    pub fn biased_layer(&self) -> Option<String> {
        let index = self.blocks.iter().position(|block| block.bias)?;
        Some(format!("L{}", index + 1))
    }

    /// The same network for images of another size.
    pub fn with_input_size(mut self, height: usize, width: usize) -> Result<Self> {
        self.input[0] = height;
        self.input[1] = width;
        self.geometries()?;
        Ok(self)
    }

    /// The shapes of all layers.
    ///
    /// # Errors
    /// [`Error::Network`] with the first layer that cannot be: a kernel larger
    /// than its map, a pooling window larger than what it pools, a size of
    /// zero, too many weights, too large a map.
    pub fn geometries(&self) -> Result<Vec<Geometry>> {
        let fail = |layer: String, problem: String| {
            Err(Error::Network { network: self.name.clone(), layer, problem })
        };
        let [mut height, mut width, mut channels] = self.input;
        if self.input.iter().any(|&n| n == 0 || n > 1 << 14) || channels != 3 {
            let problem = format!(
                "input {:?} must be height and width from 1 to 16384 and 3 channels",
                self.input
            );
            return fail("input".into(), problem);
        }
        if self.blocks.is_empty() {
            return fail("L1".into(), "is missing; a network has at least one [[block]]".into());
        }
        let mut geometries = Vec::with_capacity(self.blocks.len());
        let mut total = 0usize;
        for (index, block) in self.blocks.iter().enumerate() {
            let layer = format!("L{}", index + 1);
            let kernel = match block.kernel {
                Kernel::Side(side) => side,
                Kernel::Map(_) if height == width => height,
                Kernel::Map(_) => {
                    let problem =
                        format!("kernel \"map\" needs a square map, not {height} x {width}");
                    return fail(layer, problem);
                }
            };
            let numbers = [
                ("filters", block.filters, 1, 1 << 16),
                ("kernel", kernel, 1, 1 << 14),
                ("stride", block.stride, 1, 1 << 10),
                ("padding", block.padding, 0, 1 << 10),
                ("pool", block.pool, 1, 16),
            ];
            for (field, value, low, high) in numbers {
                if !(low..=high).contains(&value) {
                    return fail(layer, format!("{field} is {value}; it must be {low} to {high}"));
                }
            }
            let padding = block.padding;
            if height + 2 * padding < kernel || width + 2 * padding < kernel {
                let map = format!("{height} x {width} with padding {padding}");
                return fail(layer, format!("kernel {kernel} is larger than its map ({map})"));
            }
            let g = Geometry {
                height,
                width,
                channels,
                kernel,
                stride: block.stride,
                padding,
                filters: block.filters,
                pool: block.pool,
            };
            if g.pooled_height() == 0 || g.pooled_width() == 0 {
                let map = format!("{} x {}", g.out_height(), g.out_width());
                return fail(layer, format!("pool {} is larger than its map ({map})", g.pool));
            }
            total = match g.patch_len().checked_mul(g.filters).and_then(|n| n.checked_add(total)) {
                Some(total) if total <= MAX_WEIGHTS => total,
                _ => return fail(layer, format!("brings more than {MAX_WEIGHTS} weights in all")),
            };
            if g.pooled_positions().checked_mul(g.filters).is_none_or(|n| n > MAX_MAP) {
                let map = format!("{} x {}", g.pooled_height(), g.pooled_width());
                let filters = g.filters;
                return fail(
                    layer,
                    format!("makes a map of {map} x {filters}, above {MAX_MAP} numbers"),
                );
            }
            (height, width, channels) = (g.pooled_height(), g.pooled_width(), g.filters);
            geometries.push(g);
        }
        Ok(geometries)
    }
}

/// What the TOML parser has to say, on one line, with line and column.
pub fn toml_problem(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().replace('\n', " ");
    match error.span() {
        Some(span) => {
            let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
            format!("line {line}: {message}")
        }
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cifar_6_has_the_published_sizes() {
        let spec = NetworkSpec::find("cifar-6").unwrap();
        let g = spec.geometries().unwrap();
        let sizes: Vec<_> = g.iter().map(Geometry::output_len).collect();
        assert_eq!(sizes, [18816, 18432, 4800, 2304, 4096]);
        let weights: usize = g.iter().map(Geometry::weight_len).sum();
        assert_eq!(weights, 7_200 + 110_592 + 221_184 + 442_368 + 9_437_184);
    }

    #[test]
    fn the_baselines_have_the_same_shapes_with_biases_and_plain_normalisation() {
        let hebbian = NetworkSpec::find("cifar-6").unwrap();
        let baseline = NetworkSpec::find("cifar-6-backprop").unwrap();
        assert_eq!(hebbian.geometries().unwrap(), baseline.geometries().unwrap());
        assert!(baseline.blocks.iter().all(|b| b.bias && b.norm == NormKind::Batch));
        assert_eq!(
            (hebbian.biased_layer(), baseline.biased_layer().as_deref()),
            (None, Some("L1"))
        );
    }

    #[test]
    fn networks_for_photos_have_the_published_maps() {
        let maps = |name: &str| {
            let spec = NetworkSpec::find(name).unwrap();
            let maps = spec.geometries().unwrap().into_iter();
            maps.map(|g| (g.pooled_height(), g.filters)).collect::<Vec<_>>()
        };
        let imagenet = [
            (68, 96),
            (66, 128),
            (32, 192),
            (30, 192),
            (14, 256),
            (12, 256),
            (5, 384),
            (3, 512),
            (1, 4096),
        ];
        assert_eq!(maps("imagenet-10"), imagenet);
        let vgg = [
            (112, 64),
            (56, 128),
            (56, 256),
            (28, 256),
            (28, 512),
            (14, 512),
            (14, 512),
            (7, 512),
            (1, 4096),
        ];
        assert_eq!(maps("vgg-11"), vgg);
        let deeper = maps("vgg-16");
        assert_eq!((deeper.len(), deeper[12], deeper[13]), (14, (7, 512), (1, 4096)));
    }

    #[test]
    fn impossible_networks_are_refused_with_their_layer() {
        let spec = NetworkSpec::find("cifar-6").unwrap();
        let error = spec.clone().with_input_size(12, 12).unwrap_err().to_string();
        assert_eq!(
            error,
            "network cifar-6, layer L3: kernel 3 is larger than its map (2 x 2 with padding 0)"
        );
        let error = spec.with_input_size(32, 48).unwrap_err().to_string();
        assert!(error.contains("L5") && error.contains("square"), "{error}");
        let text = "name = \"x\"\ninput = [8, 8, 3]\n[[block]]\nfilters = 0\nkernel = 3\nnorm = \"batch\"\n";
        let error = NetworkSpec::parse(text, Path::new("x.toml")).unwrap_err().to_string();
        assert!(error.contains("filters is 0"), "{error}");
        let large =
            text.replace("filters = 0", "filters = 65536").replace("[8, 8,", "[9999, 9999,");
        let error = NetworkSpec::parse(&large, Path::new("x.toml")).unwrap_err().to_string();
        assert!(error.contains("9997 x 9997 x 65536"), "{error}");
        let text = text.replace("filters", "filers");
        let error = NetworkSpec::parse(&text, Path::new("x.toml")).unwrap_err().to_string();
        assert!(error.contains("x.toml: line 4") && error.contains("filers"), "{error}");
    }
}
