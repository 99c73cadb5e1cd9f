//! What operators may ask of a node, and how one control plane hands it to another.

use serde::{Deserialize, Serialize};

/// What operators may ask of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Order {
    /// Fail readiness, so that balancers send no more; go on serving what comes.
    Drain,
    /// Be ready again.
    Undrain,
    /// Take the whole catalog again.
    Resync,
    /// Log by another filter for a while; an empty one is the filter that the node started with.
    LogLevel {
        /// The filter.
        filter: String,
        /// For how long.
        for_seconds: u64,
    },
}

impl Order {
    /// The word in the API and the audit table.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Resync => "resync",
            Self::LogLevel { .. } => "log_level",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_survives_its_way() -> Result<(), serde_json::Error> {
        let all =
            [Order::Drain, Order::Undrain, Order::Resync, Order::LogLevel { filter: "debug".into(), for_seconds: 9 }];
        for order in all {
            let told = serde_json::to_value(&order)?;
            assert_eq!(told.get("command").and_then(serde_json::Value::as_str), Some(order.as_str()));
            assert_eq!(serde_json::from_value::<Order>(told)?, order);
        }
        Ok(())
    }
}
