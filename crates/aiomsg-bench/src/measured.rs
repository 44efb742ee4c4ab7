//! What is measured, and under which name it is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A figure that a process finds out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Metric {
    #[serde(rename = "messages_per_second")]
    Rate,
    /// Of the numbered messages, those that were missing.
    #[serde(rename = "lost")]
    Lost,
    #[serde(rename = "p50_us")]
    P50,
    #[serde(rename = "p99_us")]
    P99,
    #[serde(rename = "p999_us")]
    P999,
    /// Bytes of memory for each connection.
    #[serde(rename = "bytes_each")]
    Memory,
    #[serde(rename = "cpu_ms_per_second")]
    Cpu,
    #[serde(rename = "reconnect_ms")]
    Reconnect,
}

/// All that one process found out.
pub type Measured = BTreeMap<Metric, f64>;
