//! The system tests: one binary, a module for each feature.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod abuse;
mod admin;
mod benchmark;
mod bytes_kept;
mod carbon;
mod config_stream;
mod configuration;
mod counterpart;
mod delivery;
mod disk_copy;
mod documents;
mod documents_run;
mod drain;
mod enrolment;
mod fleet_scale;
mod forms;
mod groups;
mod grpc_abuse;
mod harness_itself;
mod kinds;
mod matrix;
mod network;
mod observability;
mod operations;
mod outbound;
mod replicas;
mod revisions;
mod rolling;
mod scenarios;
mod sdk;
mod self_service;
mod shipping;
mod spool;
mod staged_change;
mod tidy;
