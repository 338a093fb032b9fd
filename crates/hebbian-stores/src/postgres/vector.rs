//! pgvector's type on the wire: number of dimensions, an unused number, the values; big-endian.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

const NAME: &str = "vector";
const HEADER: usize = 4;

/// A vector to be sent.
#[derive(Debug)]
pub(super) struct Sent<'a>(pub(super) &'a [f32]);

impl ToSql for Sent<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_u16(u16::try_from(self.0.len())?);
        out.put_u16(0);
        self.0.iter().for_each(|&value| out.put_f32(value));
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        kind.name() == NAME
    }

    to_sql_checked!();
}

/// A vector that was received.
#[derive(Debug, PartialEq)]
pub(super) struct Received(pub(super) Vec<f32>);

impl<'a> FromSql<'a> for Received {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let (header, values) = raw.split_at_checked(HEADER).ok_or("a vector without its length")?;
        let (values, rest) = values.as_chunks::<4>();
        if usize::from(u16::from_be_bytes([header[0], header[1]])) != values.len()
            || !rest.is_empty()
        {
            return Err("a vector that is not as long as it says".into());
        }
        Ok(Self(values.iter().map(|&bytes| f32::from_be_bytes(bytes)).collect()))
    }

    fn accepts(kind: &Type) -> bool {
        kind.name() == NAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_cross_the_wire() {
        let values = [1.5, -0.0, f32::MIN_POSITIVE, f32::MAX];
        let mut bytes = BytesMut::new();
        Sent(&values).to_sql(&Type::BYTEA, &mut bytes).unwrap();
        assert_eq!(bytes[..8], [0, 4, 0, 0, 0x3f, 0xc0, 0, 0]);
        assert_eq!(Received::from_sql(&Type::BYTEA, &bytes).unwrap(), Received(values.into()));
        for len in 0..bytes.len() {
            assert!(Received::from_sql(&Type::BYTEA, &bytes[..len]).is_err(), "{len}");
        }
    }
}
