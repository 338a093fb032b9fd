//! hebbian
