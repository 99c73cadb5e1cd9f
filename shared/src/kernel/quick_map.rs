//! Hash tables for the path of a request.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// A hash table whose keys come from operators or from us. Much quicker than the standard one, which also withstands keys
/// that an attacker put in; whoever only looks up can do no harm to either.
pub type QuickMap<K, V> = HashMap<K, V, RandomState>;
