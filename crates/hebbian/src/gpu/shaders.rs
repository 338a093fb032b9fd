//! The shaders and how they are specialised, by text, in this one place.

use crate::rules::GateWgsl;

/// A compute shader, ready to be compiled.
pub(super) struct Shader {
    /// Its entry point.
    pub(super) entry: &'static str,
    /// Its text.
    pub(super) source: String,
}

/// How an operand (outer x k) of a product is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Row by row.
    Rows,
    /// Column by column.
    Columns,
    /// As a map: row `i` is patch `i`.
    Patches,
    /// As a map: column `k` is patch `k`.
    PatchesAcross,
}

impl Layout {
    fn gathered(self) -> bool {
        matches!(self, Self::Patches | Self::PatchesAcross)
    }

    fn constant(self) -> &'static str {
        match self {
            Self::Rows => "ROWS",
            Self::Columns => "COLUMNS",
            Self::Patches => "PATCHES",
            Self::PatchesAcross => "PATCHES_ACROSS",
        }
    }
}

/// What a product is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// All of it.
    Plain,
    /// Blocks on the diagonal of `A^T A`, the lower triangle of tiles.
    Gram,
    /// Product with the lower triangles of such blocks.
    Triangle,
}

impl Use {
    fn constant(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Gram => "GRAM",
            Self::Triangle => "TRIANGLE",
        }
    }
}

/// Replaces every `{{name}}` of a shader.
fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let replace = |text: String, (name, value): &(&str, &str)| {
        text.replace(&format!("{{{{{name}}}}}"), value)
    };
    values.iter().fold(text.to_owned(), replace)
}

fn patches(source: &str, step: usize) -> String {
    fill(include_str!("shaders/patches.wgsl"), &[("source", source), ("step", &step.to_string())])
}

/// The product of two operands; gathered ones step by `step`.
pub(super) fn product(
    (a, b): (Layout, Layout),
    step: usize,
    what: Use,
    split: bool,
    half: bool,
) -> Shader {
    let gathered = match (a.gathered(), b.gathered()) {
        (true, _) => Some("a"),
        (_, true) => Some("b"),
        _ => None,
    };
    let (enable, operand) = if half { ("enable f16;", "f16") } else { ("", "f32") };
    let values = [
        ("enable", enable),
        ("operand", operand),
        ("a", a.constant()),
        ("b", b.constant()),
        ("use", what.constant()),
        ("split", if split { "true" } else { "false" }),
        ("patches", &gathered.map_or(String::new(), |source| patches(source, step))),
        ("load_a", &load("a", a, what)),
        ("load_b", &load("b", b, what)),
        ("prepare", prepare(a, b)),
    ];
    Shader { entry: "product", source: fill(include_str!("shaders/product.wgsl"), &values) }
}

/// The function that reads an operand.
fn load(name: &str, layout: Layout, what: Use) -> String {
    let before = match layout {
        Layout::Patches => "let column = patch_columns[k];",
        Layout::PatchesAcross => "let row = patch_rows[k];",
        Layout::Rows | Layout::Columns => "",
    };
    let fetch = match (what, name, layout) {
        // Diagonal blocks: k or the columns count from where the block starts.
        (Use::Triangle, "a", _) => {
            "value[i] = select(0.0, a[outer * shape.a_stride + k], block + k <= outer);"
        }
        (Use::Triangle, _, _) => {
            "value[i] = b[shape.b_start + (block + k) * shape.b_stride + outer];"
        }
        (Use::Gram, "b", _) => "value[i] = b[shape.b_start + k * shape.b_stride + block + outer];",
        (_, _, Layout::Rows) => {
            "value[i] = {{name}}[shape.{{name}}_start + outer * shape.{{name}}_stride + k];"
        }
        (_, _, Layout::Columns) => {
            "value[i] = {{name}}[shape.{{name}}_start + k * shape.{{name}}_stride + outer];"
        }
        (_, _, Layout::Patches) => "value[i] = patch_entry(outer_places[within + i], column);",
        (_, _, Layout::PatchesAcross) => "value[i] = patch_entry(row, outer_places[within + i]);",
    };
    // What is filled in names the operand, too; so the name comes last.
    let values = [("before", before), ("fetch", fetch), ("name", name)];
    fill(include_str!("shaders/operand.wgsl"), &values)
}

/// The statements that note, before the sum over k, where the patches of a
/// tile of A, or their entries in a tile of B, lie.
fn prepare(a: Layout, b: Layout) -> &'static str {
    match (a, b) {
        (Layout::Patches, _) => {
            "if (lane < TILE) {
        outer_places[lane] = patch_rows[min(row + lane, shape.m - 1u)];
    }
    workgroupBarrier();"
        }
        (_, Layout::PatchesAcross) => {
            "if (lane < TILE) {
        outer_places[lane] = patch_columns[min(column + lane, shape.n - 1u)];
    }
    workgroupBarrier();"
        }
        _ => "",
    }
}

/// The gates of a rule.
pub(super) fn gate(rule: &GateWgsl) -> Shader {
    let constants: Vec<String> =
        rule.constants.iter().map(|(name, value)| format!("const {name} = {value:e}f;")).collect();
    let values = [
        ("rows", include_str!("shaders/rows.wgsl")),
        ("patches", &patches("map", 1)),
        ("constants", &constants.join("\n")),
        ("squash", include_str!("shaders/squash.wgsl")),
        ("rule", rule.body),
    ];
    Shader { entry: "gate_rows", source: fill(include_str!("shaders/gate.wgsl"), &values) }
}

/// An entry point of `pool.wgsl`.
pub(super) fn pool(entry: &'static str) -> Shader {
    let values = [("squash", include_str!("shaders/squash.wgsl"))];
    Shader { entry, source: fill(include_str!("shaders/pool.wgsl"), &values) }
}

/// An entry point of `norm.wgsl`.
pub(super) fn norm(entry: &'static str) -> Shader {
    Shader { entry, source: include_str!("shaders/norm.wgsl").into() }
}

/// An entry point of `elements.wgsl`.
pub(super) fn elements(entry: &'static str) -> Shader {
    Shader { entry, source: include_str!("shaders/elements.wgsl").into() }
}

/// An entry point of `weights.wgsl`.
pub(super) fn weights(entry: &'static str) -> Shader {
    Shader { entry, source: with_rows(include_str!("shaders/weights.wgsl")) }
}

/// The loss of the classifier.
pub(super) fn loss() -> Shader {
    Shader { entry: "loss", source: with_rows(include_str!("shaders/head.wgsl")) }
}

/// Patches written out.
pub(super) fn unfold() -> Shader {
    let values = [("patches", &*patches("map", 1))];
    Shader { entry: "unfold", source: fill(include_str!("shaders/unfold.wgsl"), &values) }
}

fn with_rows(text: &str) -> String {
    fill(text, &[("rows", include_str!("shaders/rows.wgsl"))])
}
