//! A graph of operators that grows node by node.

use super::messages::{
    Attribute, FLOAT, Graph, INT, INT64, INTS, Kind, Node, Shape, Side, Tensor, TensorKind, Value,
};

/// The name that the number of images goes by.
const IMAGES: &str = "N";

/// A graph that grows. Its values are known by name: what makes one returns it.
#[derive(Default)]
pub(super) struct Builder(Graph);

/// A whole number that an operator takes.
pub(super) fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.to_owned(), i: Some(value), kind: INT, ..Attribute::default() }
}

/// Whole numbers that an operator takes.
pub(super) fn ints(name: &str, values: impl IntoIterator<Item = usize>) -> Attribute {
    let ints = values.into_iter().map(signed).collect();
    Attribute { name: name.to_owned(), ints, kind: INTS, ..Attribute::default() }
}

fn signed(n: usize) -> i64 {
    n.cast_signed() as i64
}

/// What goes in or comes out: so many images of this shape.
fn value(name: &str, doc_string: String, elem_type: i32, shape: &[usize]) -> Value {
    let known = |&n: &usize| Side { value: Some(signed(n)), ..Side::default() };
    let images = Side { name: Some(IMAGES.to_owned()), ..Side::default() };
    let dim = [images].into_iter().chain(shape.iter().map(known)).collect();
    let tensor = TensorKind { elem_type, shape: Some(Shape { dim }) };
    Value { name: name.to_owned(), kind: Some(Kind { tensor: Some(tensor) }), doc_string }
}

impl Builder {
    /// Images go in under this name, of so many elements each way.
    pub(super) fn input(&mut self, name: &str, about: String, elements: i32, shape: &[usize]) {
        self.0.input.push(value(name, about, elements, shape));
    }

    /// `from` comes out under this name, so many numbers an image.
    pub(super) fn output(&mut self, name: &str, about: String, from: &str, len: usize) {
        self.node("Identity", name, &[from], Vec::new());
        self.0.output.push(value(name, about, FLOAT, &[len]));
    }

    /// Constant numbers.
    pub(super) fn numbers(&mut self, name: &str, shape: &[usize], numbers: &[f32]) -> String {
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(name, shape, FLOAT, bytes)
    }

    /// A shape to bring a tensor to: 0 for the side it has, -1 for the one that follows from the
    /// others.
    pub(super) fn shape(&mut self, name: &str, sides: &[i64]) -> String {
        let bytes = sides.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.constant(name, &[sides.len()], INT64, bytes)
    }

    fn constant(
        &mut self,
        name: &str,
        shape: &[usize],
        data_type: i32,
        raw_data: Vec<u8>,
    ) -> String {
        let dims = shape.iter().copied().map(signed).collect();
        self.0.initializer.push(Tensor { dims, data_type, name: name.to_owned(), raw_data });
        name.to_owned()
    }

    /// An operator applied to values; what it makes goes by `name`.
    pub(super) fn node(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        attribute: Vec<Attribute>,
    ) -> String {
        self.0.node.push(Node {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: operator.to_owned(),
            attribute,
        });
        name.to_owned()
    }

    /// The graph.
    pub(super) fn finish(self, name: &str) -> Graph {
        Graph { name: name.to_owned(), ..self.0 }
    }
}
