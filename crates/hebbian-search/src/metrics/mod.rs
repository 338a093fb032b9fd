//! How good a ranking is: average precision and precision in their published definitions, reports
//! over many queries, and classification by nearest neighbours.

mod average_precision;
mod neighbours;
mod report;
mod sums;
mod ties;

pub use average_precision::{
    ApDenominator, RankingPrefix, average_precision, precision_at, ranking_prefixes,
};
pub use neighbours::knn_classify;
pub use report::{
    Definitions, EvaluateOptions, ExpectedOverTies, MeanAveragePrecision, PrecisionAt,
    RetrievalReport, evaluate,
};
pub use sums::RetrievalSums;
pub use ties::{ExpectedPrefix, TieGroup, expected_prefixes};
