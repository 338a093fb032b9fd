//! hebbian-data
