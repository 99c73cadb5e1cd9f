//! Words without behaviour of their own: ids, money, tokens, secrets, time.
//!
//! Nothing in this room imports another room. Fields are private and validated on construction.

pub mod cidr;
pub mod clock;
pub mod ids;
pub mod money;
pub mod quick_map;
pub mod secret;
pub mod shards;
pub mod tokens;
pub mod virtual_key;
