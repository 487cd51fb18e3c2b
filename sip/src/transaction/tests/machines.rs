//! Each machine alone: when every timer fires, and what every input does in every state.

use std::time::Instant;

use crate::transaction::invite_client::{self, InviteClient};
use crate::transaction::invite_server::{self, InviteServer};
use crate::transaction::machine::{Actions, Class, Send, Tell};
use crate::transaction::non_invite_client::{self, NonInviteClient};
use crate::transaction::non_invite_server::{self, NonInviteServer};
use crate::transaction::timer::{Armed, Timer, Timers};

const UDP: bool = false;
const TCP: bool = true;

/// Lets the timers of a machine run until none is left: what fired, after how many milliseconds,
/// and what it asked for.
fn run_out<M>(
    start: Instant,
    machine: &mut M,
    armed: impl Fn(&mut M) -> &mut Armed,
    mut fire: impl FnMut(&mut M, Instant, Timer) -> Actions,
) -> Vec<(u128, Timer, Actions)> {
    let mut log = Vec::new();
    while let Some(at) = armed(machine).next() {
        let timer = armed(machine)
            .expire(at)
            .expect("the next timer is due at its own instant");
        let actions = fire(machine, at, timer);
        log.push(((at - start).as_millis(), timer, actions));
        assert!(log.len() < 1000, "the timers never end");
    }
    log
}

fn config() -> Timers {
    Timers::default()
}

fn again(ms: u128, timer: Timer) -> (u128, Timer, Actions) {
    (ms, timer, Actions::send(Send::Request))
}

fn repeat(ms: u128) -> (u128, Timer, Actions) {
    (ms, Timer::G, Actions::send(Send::Response))
}

fn run_invite_client(start: Instant, machine: &mut InviteClient) -> Vec<(u128, Timer, Actions)> {
    run_out(start, machine, |m| &mut m.timers, InviteClient::on_timer)
}

fn run_non_invite_client(
    start: Instant,
    machine: &mut NonInviteClient,
) -> Vec<(u128, Timer, Actions)> {
    run_out(
        start,
        machine,
        |m| &mut m.timers,
        |m, now, timer| m.on_timer(now, &config(), timer),
    )
}

fn run_invite_server(start: Instant, machine: &mut InviteServer) -> Vec<(u128, Timer, Actions)> {
    run_out(
        start,
        machine,
        |m| &mut m.timers,
        |m, now, timer| m.on_timer(now, &config(), timer),
    )
}

fn run_non_invite_server(
    start: Instant,
    machine: &mut NonInviteServer,
) -> Vec<(u128, Timer, Actions)> {
    run_out(
        start,
        machine,
        |m| &mut m.timers,
        |m, _, timer| m.on_timer(timer),
    )
}

#[test]
fn invite_client_over_udp_doubles_timer_a_until_timer_b() {
    let start = Instant::now();
    let mut machine = InviteClient::new(start, &config(), UDP);
    let expected = vec![
        again(500, Timer::A),
        again(1_500, Timer::A),
        again(3_500, Timer::A),
        again(7_500, Timer::A),
        again(15_500, Timer::A),
        again(31_500, Timer::A),
        (32_000, Timer::B, Actions::tell(Tell::Timeout)),
    ];
    assert_eq!(run_invite_client(start, &mut machine), expected);
    assert_eq!(machine.state(), invite_client::State::Terminated);
}

#[test]
fn invite_client_over_tcp_runs_timer_b_alone() {
    let start = Instant::now();
    let mut machine = InviteClient::new(start, &config(), TCP);
    let expected = vec![(32_000, Timer::B, Actions::tell(Tell::Timeout))];
    assert_eq!(run_invite_client(start, &mut machine), expected);
}

#[test]
fn invite_client_rings_without_a_timer_and_b_runs_again_after_cancel() {
    let start = Instant::now();
    let mut machine = InviteClient::new(start, &config(), UDP);
    let told = machine.on_response(start, &config(), Class::Provisional);
    assert_eq!(told, Actions::tell(Tell::Message));
    assert_eq!(machine.timers.next(), None);

    machine.on_cancel(start, &config());
    let expected = vec![(32_000, Timer::B, Actions::tell(Tell::Timeout))];
    assert_eq!(run_invite_client(start, &mut machine), expected);
}

#[test]
fn invite_client_acknowledges_each_failure_until_timer_d() {
    let start = Instant::now();
    let mut machine = InviteClient::new(start, &config(), UDP);
    let first = machine.on_response(start, &config(), Class::Failure);
    assert_eq!(first, Actions::send(Send::Ack).and_tell(Tell::Message));
    let second = machine.on_response(start, &config(), Class::Failure);
    assert_eq!(second, Actions::send(Send::Ack));
    assert_eq!(
        machine.on_response(start, &config(), Class::Success),
        Actions::NONE
    );
    assert_eq!(
        machine.on_response(start, &config(), Class::Provisional),
        Actions::NONE
    );
    assert_eq!(machine.state(), invite_client::State::Completed);
    let expected = vec![(32_000, Timer::D, Actions::NONE)];
    assert_eq!(run_invite_client(start, &mut machine), expected);
}

#[test]
fn invite_client_over_tcp_is_over_with_its_ack() {
    let start = Instant::now();
    let mut machine = InviteClient::new(start, &config(), TCP);
    let first = machine.on_response(start, &config(), Class::Failure);
    assert_eq!(first, Actions::send(Send::Ack).and_tell(Tell::Message));
    assert_eq!(machine.state(), invite_client::State::Terminated);
    assert_eq!(machine.timers.next(), None);
}

#[test]
fn invite_client_passes_every_2xx_until_timer_m_on_any_transport() {
    for transport in [UDP, TCP] {
        let start = Instant::now();
        let mut machine = InviteClient::new(start, &config(), transport);
        for _ in 0..3 {
            let told = machine.on_response(start, &config(), Class::Success);
            assert_eq!(told, Actions::tell(Tell::Message));
        }
        assert_eq!(
            machine.on_response(start, &config(), Class::Failure),
            Actions::NONE
        );
        assert_eq!(machine.on_transport_error(), Actions::NONE);
        assert_eq!(machine.state(), invite_client::State::Accepted);
        let expected = vec![(32_000, Timer::M, Actions::NONE)];
        assert_eq!(run_invite_client(start, &mut machine), expected);
    }
}

#[test]
fn invite_client_survives_a_lost_connection_only_while_it_rings() {
    let start = Instant::now();
    let mut machine = InviteClient::new(start, &config(), TCP);
    let _ = machine.on_response(start, &config(), Class::Provisional);
    assert_eq!(machine.on_transport_error(), Actions::NONE);
    assert_eq!(machine.state(), invite_client::State::Proceeding);

    let mut machine = InviteClient::new(start, &config(), TCP);
    assert_eq!(
        machine.on_transport_error(),
        Actions::tell(Tell::TransportError)
    );
    assert_eq!(machine.state(), invite_client::State::Terminated);
}

#[test]
fn non_invite_client_over_udp_caps_timer_e_at_t2_until_timer_f() {
    let start = Instant::now();
    let mut machine = NonInviteClient::new(start, &config(), UDP);
    let expected = vec![
        again(500, Timer::E),
        again(1_500, Timer::E),
        again(3_500, Timer::E),
        again(7_500, Timer::E),
        again(11_500, Timer::E),
        again(15_500, Timer::E),
        again(19_500, Timer::E),
        again(23_500, Timer::E),
        again(27_500, Timer::E),
        again(31_500, Timer::E),
        (32_000, Timer::F, Actions::tell(Tell::Timeout)),
    ];
    assert_eq!(run_non_invite_client(start, &mut machine), expected);
}

#[test]
fn non_invite_client_retransmits_every_t2_once_it_was_heard() {
    let start = Instant::now();
    let mut machine = NonInviteClient::new(start, &config(), UDP);
    let told = machine.on_response(start, &config(), Class::Provisional);
    assert_eq!(told, Actions::tell(Tell::Message));
    let log = run_non_invite_client(start, &mut machine);
    assert_eq!(
        log[..3],
        [
            again(500, Timer::E),
            again(4_500, Timer::E),
            again(8_500, Timer::E)
        ]
    );
    assert_eq!(
        log.last(),
        Some(&(32_000, Timer::F, Actions::tell(Tell::Timeout)))
    );
}

#[test]
fn non_invite_client_absorbs_responses_until_timer_k() {
    let start = Instant::now();
    let mut machine = NonInviteClient::new(start, &config(), UDP);
    let told = machine.on_response(start, &config(), Class::Success);
    assert_eq!(told, Actions::tell(Tell::Message));
    assert_eq!(
        machine.on_response(start, &config(), Class::Success),
        Actions::NONE
    );
    let expected = vec![(5_000, Timer::K, Actions::NONE)];
    assert_eq!(run_non_invite_client(start, &mut machine), expected);

    let mut machine = NonInviteClient::new(start, &config(), TCP);
    let _ = machine.on_response(start, &config(), Class::Failure);
    assert_eq!(machine.state(), non_invite_client::State::Terminated);
}

#[test]
fn invite_server_sends_100_after_200_ms_unless_its_user_answered() {
    let start = Instant::now();
    let mut machine = InviteServer::new(start, &config(), UDP);
    assert_eq!(machine.on_retransmission(), Actions::NONE);
    let expected = vec![(200, Timer::Trying, Actions::send(Send::Trying))];
    assert_eq!(run_invite_server(start, &mut machine), expected);
    assert_eq!(machine.on_retransmission(), Actions::send(Send::Response));

    let mut machine = InviteServer::new(start, &config(), UDP);
    let sent = machine.on_user_response(start, &config(), Class::Provisional);
    assert_eq!(sent, Some(Actions::send(Send::Response)));
    assert_eq!(machine.timers.next(), None);
}

#[test]
fn invite_server_over_udp_repeats_a_failure_until_timer_h() {
    let start = Instant::now();
    let mut machine = InviteServer::new(start, &config(), UDP);
    let sent = machine.on_user_response(start, &config(), Class::Failure);
    assert_eq!(sent, Some(Actions::send(Send::Response)));
    assert_eq!(machine.on_retransmission(), Actions::send(Send::Response));
    let expected = vec![
        repeat(500),
        repeat(1_500),
        repeat(3_500),
        repeat(7_500),
        repeat(11_500),
        repeat(15_500),
        repeat(19_500),
        repeat(23_500),
        repeat(27_500),
        repeat(31_500),
        (32_000, Timer::H, Actions::tell(Tell::Timeout)),
    ];
    assert_eq!(run_invite_server(start, &mut machine), expected);
}

#[test]
fn invite_server_over_tcp_waits_for_the_ack_without_repeating() {
    let start = Instant::now();
    let mut machine = InviteServer::new(start, &config(), TCP);
    let _ = machine.on_user_response(start, &config(), Class::Failure);
    let expected = vec![(32_000, Timer::H, Actions::tell(Tell::Timeout))];
    assert_eq!(run_invite_server(start, &mut machine), expected);
}

#[test]
fn invite_server_absorbs_acks_until_timer_i() {
    let start = Instant::now();
    let mut machine = InviteServer::new(start, &config(), UDP);
    let _ = machine.on_user_response(start, &config(), Class::Failure);
    assert_eq!(machine.on_ack(start, &config()), Actions::NONE);
    assert_eq!(machine.state(), invite_server::State::Confirmed);
    assert_eq!(machine.on_ack(start, &config()), Actions::NONE);
    assert_eq!(machine.on_retransmission(), Actions::NONE);
    let expected = vec![(5_000, Timer::I, Actions::NONE)];
    assert_eq!(run_invite_server(start, &mut machine), expected);

    let mut machine = InviteServer::new(start, &config(), TCP);
    let _ = machine.on_user_response(start, &config(), Class::Failure);
    let _ = machine.on_ack(start, &config());
    assert_eq!(machine.state(), invite_server::State::Terminated);
}

#[test]
fn invite_server_accepted_absorbs_invites_and_passes_acks_until_timer_l() {
    for transport in [UDP, TCP] {
        let start = Instant::now();
        let mut machine = InviteServer::new(start, &config(), transport);
        let _ = machine.on_user_response(start, &config(), Class::Success);
        assert_eq!(machine.on_retransmission(), Actions::NONE);
        assert_eq!(
            machine.on_ack(start, &config()),
            Actions::tell(Tell::Message)
        );
        let again = machine.on_user_response(start, &config(), Class::Success);
        assert_eq!(again, Some(Actions::send(Send::Response)));
        assert_eq!(
            machine.on_user_response(start, &config(), Class::Failure),
            None
        );
        assert_eq!(
            machine.on_user_response(start, &config(), Class::Provisional),
            None
        );
        let expected = vec![(32_000, Timer::L, Actions::NONE)];
        assert_eq!(run_invite_server(start, &mut machine), expected);
    }
}

#[test]
fn invite_server_keeps_its_state_when_the_transport_fails() {
    let start = Instant::now();
    let mut machine = InviteServer::new(start, &config(), TCP);
    assert_eq!(
        machine.on_transport_error(),
        Actions::tell(Tell::TransportError)
    );
    assert_eq!(machine.state(), invite_server::State::Proceeding);
    let _ = machine.on_user_response(start, &config(), Class::Failure);
    assert_eq!(
        machine.on_transport_error(),
        Actions::tell(Tell::TransportError)
    );
    assert_eq!(machine.state(), invite_server::State::Completed);
}

#[test]
fn non_invite_server_says_100_after_3500_ms_and_gives_up_with_its_client() {
    let start = Instant::now();
    let mut machine = NonInviteServer::new(start, &config(), UDP);
    assert_eq!(machine.on_retransmission(), Actions::NONE);
    let expected = vec![
        (3_500, Timer::Trying, Actions::send(Send::Trying)),
        (32_000, Timer::J, Actions::tell(Tell::Timeout)),
    ];
    assert_eq!(run_non_invite_server(start, &mut machine), expected);
    assert_eq!(machine.state(), non_invite_server::State::Terminated);
}

#[test]
fn non_invite_server_repeats_its_answer_until_timer_j() {
    let start = Instant::now();
    let mut machine = NonInviteServer::new(start, &config(), UDP);
    let sent = machine.on_user_response(start, &config(), Class::Success);
    assert_eq!(sent, Some(Actions::send(Send::Response)));
    assert_eq!(machine.on_retransmission(), Actions::send(Send::Response));
    assert_eq!(
        machine.on_user_response(start, &config(), Class::Failure),
        None
    );
    let expected = vec![(32_000, Timer::J, Actions::NONE)];
    assert_eq!(run_non_invite_server(start, &mut machine), expected);

    let mut machine = NonInviteServer::new(start, &config(), TCP);
    let _ = machine.on_user_response(start, &config(), Class::Success);
    assert_eq!(machine.state(), non_invite_server::State::Terminated);
}

#[test]
fn non_invite_server_that_gave_up_absorbs_in_silence() {
    let start = Instant::now();
    let mut machine = NonInviteServer::new(start, &config(), UDP);
    machine.on_abandon(start, &config());
    assert_eq!(machine.on_retransmission(), Actions::NONE);
    assert_eq!(
        machine.on_user_response(start, &config(), Class::Failure),
        None
    );
    let expected = vec![(32_000, Timer::J, Actions::NONE)];
    assert_eq!(run_non_invite_server(start, &mut machine), expected);
}
