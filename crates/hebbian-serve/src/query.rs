//! What stands behind the `?` of an address.

use hebbian_search::{Filter, Glob};

use crate::problem::Problem;

/// Most neighbours of a query.
const MAX_K: usize = 1000;
/// Most ids, labels or paths in one request.
const MAX_VALUES: usize = 64;

/// The parameters of a request, each checked.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Query {
    pub(crate) ids: Vec<String>,
    pub(crate) k: Option<usize>,
    pub(crate) offset: usize,
    pub(crate) limit: Option<usize>,
    pub(crate) threshold: Option<f32>,
    pub(crate) filter: Filter,
}

impl Query {
    /// Reads `a=b&c=d`; names that are not known are refused, so that a typing error is seen.
    pub(crate) fn parse(text: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut query = Self::default();
        for (count, (name, value)) in
            form_urlencoded::parse(text.unwrap_or_default().as_bytes()).enumerate()
        {
            if !known.contains(&&*name) || count >= MAX_VALUES {
                let known = known.join(", ");
                return Err(Problem::bad(format!(
                    "no parameter {name:?} here; there are {known}, at most {MAX_VALUES} in all"
                )));
            }
            let value = value.into_owned();
            let number = |most: usize| match value.parse() {
                Ok(number) if number <= most => Ok(number),
                _ => Err(Problem::bad(format!("{name} is {value:?}; it must be 0 to {most}"))),
            };
            match &*name {
                "id" => query.ids.push(value),
                "label" => query.filter.labels.push(value),
                "path" => query.filter.paths.push(Glob::new(value)),
                "k" => query.k = Some(number(MAX_K)?),
                "limit" => query.limit = Some(number(MAX_K)?),
                "offset" => query.offset = number(usize::MAX)?,
                "threshold" => match value.parse::<f32>() {
                    Ok(number) if number.is_finite() && number >= 0.0 => {
                        query.threshold = Some(number);
                    }
                    _ => {
                        let rule = "it must be a distance from 0 on";
                        return Err(Problem::bad(format!("threshold is {value:?}; {rule}")));
                    }
                },
                _ => {}
            }
        }
        Ok(query)
    }
}
