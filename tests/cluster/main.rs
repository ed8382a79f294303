//! Tests of walia in whole Postgres clusters: private servers that are started, killed, copied and compared.
//!
//! Run by `make test`, which builds and installs walia first and says in `WALIA_TEST_…` variables where.
//! Every file here is one subject. A test starts the [`server::Cluster`] it needs and speaks SQL to it.

mod advise;
mod batches;
mod build;
mod churn;
mod codes;
mod cold;
mod conditions;
mod crash;
mod damage;
mod descending;
mod documents;
mod equal;
mod errors;
mod estimate;
mod explain;
mod extension;
mod federation;
mod foreign;
mod format;
mod golden;
mod horizon;
mod interrupted;
mod kernels;
mod leaks;
mod logging;
mod memory;
mod moves;
mod moving;
mod numbers;
mod order;
mod page_map;
mod parallel;
mod passes;
mod privileges;
mod progress;
mod recall;
mod regress;
mod scan;
mod searchers;
mod server;
mod soak;
mod spilled;
mod standby;
mod stat_indexes;
mod stop_points;
mod unlogged;
mod updates;
mod upgrade;
mod vacuum;
mod ways;
mod workload;
