//! The same cases on both engines.
//!
//! SQLite runs each as a test of its own; PostgreSQL runs them in turn, each on a database of its own,
//! on one server that the test starts and stops.

#![expect(
    clippy::unwrap_used,
    reason = "a test says \"this cannot fail\" the short way"
)]

mod access;
mod cases;
mod messages;
mod postgres;
mod records;
mod routing;
mod users;
mod voice;
mod webhooks;

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    pin::Pin,
};

use postgres::Postgres;
use store::Store;

/// Where a case has its database.
pub(crate) struct Place {
    /// What to open.
    pub(crate) url: String,
    /// The data directory.
    pub(crate) dir: PathBuf,
}

impl Place {
    /// Opens the database, as a process would at its start.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.url, &self.dir).await.unwrap()
    }
}

type Case = fn(Place) -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! cases {
    ($($module:ident: $($case:ident)+;)+) => {
        mod sqlite {
            $($(#[test]
            fn $case() {
                let dir = tempfile::tempdir().unwrap();
                let place = super::Place { url: "sqlite:test.db".into(), dir: dir.path().into() };
                super::run(super::$module::$case(place));
            })+)+
        }

        const CASES: &[(&str, Case)] =
            &[$($((stringify!($case), |place| Box::pin($module::$case(place)))),+),+];
    };
}

cases! {
    access:
    applications_are_kept_by_tenant_under_names_of_their_own
    tenants_are_created_renamed_and_removed
    operators_are_kept_and_what_they_signed_in_for_ends_with_each_change
    keys_are_kept_by_tenant
    changes_are_listed_newest_first
    much_is_imported_at_once_or_not_at_all
    users_are_their_domains_tenants;
    cases:
    a_record_comes_back_as_it_was_written
    a_record_without_optional_values_comes_back
    writing_twice_leaves_one_record
    one_batch_may_name_a_record_twice
    a_large_batch_is_written_whole
    odd_text_is_stored
    names_longer_than_an_index_takes_are_cut
    numbers_beyond_the_engine_are_bounded
    the_list_is_newest_first_and_paged
    pages_are_not_shifted_by_new_records
    each_filter_narrows_the_list
    filters_are_data_not_sql
    a_second_start_keeps_the_data
    processes_may_start_together
    an_older_schema_is_upgraded
    a_newer_schema_is_refused
    the_writer_writes_everything
    trunks_have_their_figures;
    messages:
    messages_are_read_in_order_until_they_are_forgotten
    a_user_has_so_many_messages_for_so_long
    messages_are_listed_by_whose_they_are
    a_message_may_be_anything;
    users:
    users_are_created_once
    users_are_listed_in_pages_and_removed
    many_users_are_found_at_once
    bindings_are_replaced_by_address
    nodes_have_their_own_bindings
    bindings_are_read_in_pages_of_whole_addresses
    bindings_that_are_over_are_purged;
    routing:
    routing_is_written_read_and_counted
    routing_is_created_where_it_is_missing
    routing_is_edited_where_nothing_has_changed
    numbers_are_found_by_whom_they_lead_to
    many_routes_are_replaced_at_once;
    records:
    recordings_are_listed_and_go_with_their_files
    what_happened_to_a_call_comes_and_goes_with_its_record
    what_is_too_old_is_forgotten_and_nothing_else
    a_number_is_erased_wherever_it_was
    a_user_is_erased_in_what_is_a_tenants;
    voice:
    accounts_are_made_once_changed_and_removed_with_their_keys
    of_two_states_of_a_call_the_later_one_stays
    calls_are_listed_by_account_newest_first
    streams_and_recordings_are_kept_by_call
    messages_are_kept_by_their_latest_state
    what_a_killed_node_had_under_way_is_ended_and_nothing_else
    programmable_calls_are_erased_and_forgotten_as_others_are;
    webhooks:
    webhooks_are_kept_changed_and_removed
    deliveries_wait_until_they_are_due_or_given_up;
}

#[test]
fn postgres() {
    let mut server = match Postgres::start(&["fsync=off"]) {
        Ok(server) => server,
        Err(why) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI needs PostgreSQL: {why}"
            );
            eprintln!("skipped: {why}");
            return;
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let mut failed = Vec::new();
    for (number, (name, case)) in CASES.iter().enumerate() {
        let place = database(&server, &format!("case{number}"), dir.path());
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| run(case(place))));
        eprintln!(
            "postgres {name}: {}",
            if result.is_ok() { "ok" } else { "FAILED" }
        );
        if result.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "failed on PostgreSQL: {failed:?}");

    let place = database(&server, "outage", dir.path());
    run(cases::the_writer_outlives_an_outage(place, &mut server));
}

/// Makes an empty database.
fn database(server: &Postgres, name: &str, dir: &Path) -> Place {
    run(async {
        use sqlx::{ConnectOptions, Connection};
        let options: sqlx::postgres::PgConnectOptions = server.url("postgres").parse().unwrap();
        let mut connection = loop {
            match options.clone().connect().await {
                Ok(connection) => break connection,
                // The server is still starting up.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        };
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(create).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
    Place {
        url: server.url(name),
        dir: dir.into(),
    }
}

fn run(case: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(case);
}
