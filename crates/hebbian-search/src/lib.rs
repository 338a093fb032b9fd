//! hebbian-search
