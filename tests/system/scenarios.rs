//! Scenarios of faults under load, each a file in `tests/scenarios`; what must hold in all of them is in the checker.

use std::collections::BTreeSet;

use harness::fault::run::play;
use harness::fault::scenario::Scenario;

/// A test for each file.
macro_rules! scenarios {
    ($($name:ident,)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                play(stringify!($name));
            }
        )*
    };
}

scenarios! {
    clocks_jump,
    control_plane_frozen,
    control_plane_killed,
    disk_full,
    files_damaged,
    links_cut,
    links_slow,
    node_starts_alone,
    nodes_killed,
    nodes_replaced,
    nodes_stranded,
    partition_nodes,
    partition_nodes_one_way,
    partition_postgres,
    partition_postgres_one_way,
    postgres_flapping,
    postgres_frozen,
    postgres_promoted,
    postgres_stopped,
    postgres_stranded,
    upstream_held,
    upstream_lost,
    upstream_unheard,
}

#[test]
fn every_scenario_is_a_test() {
    let files = std::fs::read_dir(Scenario::folder()).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<String> = files.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    let names: BTreeSet<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(files, names, "each file in tests/scenarios has its line in tests/system/scenarios.rs");
    for name in names {
        let about = Scenario::read(&name).about;
        assert!(about.ends_with('.'), "{name}: a sentence says what it is about: {about}");
    }
}
