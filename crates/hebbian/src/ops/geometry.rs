//! Shapes of a block: input map, patches, output map, pooled map.

/// Shape of a block's convolution and pooling: square kernels, zero padding,
/// pooling windows that do not overlap, rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Height of the input map.
    pub height: usize,
    /// Width of the input map.
    pub width: usize,
    /// Channels of the input map.
    pub channels: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step of the kernel.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
    /// Neurons, that is channels of the output map.
    pub filters: usize,
    /// Side and step of the max-pooling window; 1 for none.
    pub pool: usize,
}

impl Geometry {
    /// Length of a patch and of a weight vector, D.
    pub fn patch_len(&self) -> usize {
        self.kernel * self.kernel * self.channels
    }

    /// Height of the map before pooling.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Width of the map before pooling.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Positions of an image before pooling; N is this times the batch size.
    pub fn positions(&self) -> usize {
        self.out_height() * self.out_width()
    }

    /// Height of the pooled map.
    pub fn pooled_height(&self) -> usize {
        self.out_height() / self.pool
    }

    /// Width of the pooled map.
    pub fn pooled_width(&self) -> usize {
        self.out_width() / self.pool
    }

    /// Positions of an image after pooling.
    pub fn pooled_positions(&self) -> usize {
        self.pooled_height() * self.pooled_width()
    }

    /// Numbers in an image's input map.
    pub fn input_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Numbers in an image's pooled map.
    pub fn output_len(&self) -> usize {
        self.pooled_positions() * self.filters
    }

    /// Numbers in the weight matrix, C x D.
    pub fn weight_len(&self) -> usize {
        self.filters * self.patch_len()
    }

    /// Multiply-accumulates of the convolution of one image.
    pub fn forward_macs(&self) -> usize {
        self.positions() * self.weight_len()
    }

    /// Output rows of band `band` of an image: one row of pooling windows; the
    /// last band takes the rows that pooling leaves over as well.
    pub(crate) fn band_rows(&self, band: usize) -> std::ops::Range<usize> {
        let start = band * self.pool;
        let end = if band + 1 == self.bands() { self.out_height() } else { start + self.pool };
        start..end
    }

    /// Bands of an image.
    pub(crate) fn bands(&self) -> usize {
        self.pooled_height().max(1)
    }
}
