//! The clock starts at the scheduled time of an arrival, whatever the listener or the generator does (M1 to M6, M9).
//!
//! Lower bounds and ratios hold on any machine. Upper bounds are checked only if the generator's lag is small enough.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use smtpress::collector::summary::Code;
use smtpress::collector::{Metric, Outcome};
use smtpress::listener::limits::{Delay, Limits, Offers, Stall};
use smtpress::plan::{Messages, Unit};
use smtpress::smtp::Step;
use smtpress::smtp::script::Pipelining;

use super::resolvers::Answers;
use super::scribe;
use super::testbed::{
    SECOND, Testbed, UNITS, delayed, messages, ms, phase, plan, rate, run, run_against, side_by_side,
};

/// With a stall of S in a load of T, the response time at quantile q is at least S - (1 - q) T. The listener's thread
/// may start its stall late, and is then silent for less time.
fn at_least(stall: f64, length: f64, q: f64) -> f64 {
    stall - (1.0 - q) * length - 0.1
}

#[test]
fn m1_a_stall_is_in_the_response_times_of_all_that_were_due_in_it() {
    let plan = plan(vec![phase(rate(200.0), Some(10 * SECOND), Unit::Message)]);
    let stall = Some(Stall { from: 4 * SECOND, length: SECOND });
    let told = run(&plan, Limits { stall, ..Limits::default() });
    assert_eq!(told.of(Outcome::Accepted), 2000);
    for q in [0.95, 0.99] {
        let found = told.quantile(Metric::Response, q);
        assert!(found >= at_least(1.0, 10.0, q), "p{q} is {found}");
    }
    let max = told.hist(Metric::Response, Outcome::Accepted).max_ns();
    assert!(max >= 900_000_000, "max is {max}");
    // Nine tenths of the messages were not in the stall.
    let p50 = told.quantile(Metric::Response, 0.5);
    assert!(p50 * 2.0 < told.quantile(Metric::Response, 0.99), "{p50}");
    told.below("M1: response p50", p50, 0.1);
}

#[test]
fn m2_a_stall_of_half_the_time() {
    let plan = plan(vec![phase(rate(100.0), Some(6 * SECOND), Unit::Message)]);
    let stall = Some(Stall { from: SECOND, length: 3 * SECOND });
    let told = run(&plan, Limits { stall, ..Limits::default() });
    let found = told.quantile(Metric::Response, 0.9);
    assert!(found >= at_least(3.0, 6.0, 0.9), "{found}");
    let max = told.hist(Metric::Response, Outcome::Accepted).max_ns() as f64 / 1e9;
    assert!(found < max * 0.9, "p90 {found}, max {max}: four fifths of the stall");
    told.below("M2: response p90", found, 2.4 * 1.15);
}

#[test]
fn m3_a_cap_on_sessions_does_not_move_the_anchor() {
    let mut plan = plan(vec![phase(rate(200.0), Some(10 * SECOND), Unit::Message)]);
    plan.phases[0].max_sessions = 8;
    let mut limits = delayed(|delays| delays.body = Delay::fixed(ms(5)));
    limits.stall = Some(Stall { from: 4 * SECOND, length: SECOND });
    let told = run(&plan, limits);
    assert_eq!(told.of(Outcome::Accepted), 2000);
    let (response, service) = (told.quantile(Metric::Response, 0.99), told.quantile(Metric::Service, 0.99));
    assert!(response >= at_least(1.0, 10.0, 0.99), "response p99 {response}");
    assert!(told.ledger.sessions_peak <= 8);
    // Eight of 2000 messages were in service during the stall. The others waited for these, and were not in service.
    assert!(service * 2.0 < response, "service p99 {service}, response p99 {response}");
    told.below("M3: service p99", service, 0.3);
    let slow = told.hist(Metric::Service, Outcome::Accepted).max_ns();
    assert!(slow >= 900_000_000, "those under way saw it: {slow}");
}

#[test]
fn m4_a_queue_is_measured_exactly() {
    side_by_side(UNITS, |unit| {
        // Arrival k is scheduled at 50 k ms and ends at 100 (k + 1) ms: it takes 50 k + 100 ms, of which 100 are
        // service.
        let mut plan = plan(vec![phase(rate(20.0), Some(4 * SECOND), unit)]);
        plan.phases[0].max_sessions = 1;
        plan.messages = messages(unit);
        let told = run(&plan, delayed(|delays| delays.body = Delay::fixed(ms(100))));
        assert_eq!((told.of(Outcome::Accepted), told.ledger.sessions_peak), (80, 1));
        let response = told.hist(Metric::Response, Outcome::Accepted);
        let p50 = told.quantile(Metric::Response, 0.5);
        assert!(p50 >= 2.05 * 0.999, "{unit:?} response p50 {p50}");
        assert!(response.max_ns() >= 4_050_000_000, "{unit:?} response max {}", response.max_ns());
        assert!(told.hist(Metric::Service, Outcome::Accepted).min_ns() >= 100_000_000);
        // The wait for a session is caused by the profile, and is no lag of the generator.
        let (wait, lag) =
            (told.hist(Metric::Wait, Outcome::Accepted), told.hist(Metric::Lag, Outcome::Accepted));
        assert!(wait.max_ns() >= 3_800_000_000, "{unit:?} wait max {}", wait.max_ns());
        assert!(lag.max_ns() < 1_500_000_000, "{unit:?} lag max {}", lag.max_ns());
        // The queue grows evenly, so half of the arrivals wait for at most half of the longest wait. The last one ends
        // when all were served.
        let (max, service) = (response.max_ns() as f64 / 1e9, told.quantile(Metric::Service, 0.5));
        assert!(p50 < max * 0.65, "{unit:?} response p50 {p50}, max {max}");
        assert!(service * 80.0 < (max + 79.0 * 0.05) * 1.3, "{unit:?} service p50 {service}, max {max}");
        told.below("M4: response p50", p50, 2.05 * 1.3);
        told.below("M4: service p50", service, 0.13);
    });
}

#[test]
fn m5_our_own_stall_is_not_hidden() {
    let mut plan = plan(vec![phase(rate(500.0), Some(2 * SECOND), Unit::Message)]);
    plan.phases[0].max_sessions = 1;
    plan.threads = 1;
    let hold = ms(600);
    let testbed = Testbed { resolver: Some(Answers::holding(hold)), ..Testbed::default() };
    let told = testbed.run(&plan);
    assert_eq!((told.of(Outcome::Accepted), told.counts().opened), (1000, 1));
    let lag = told.hist(Metric::Lag, Outcome::Accepted).max_ns();
    assert!(lag >= 590_000_000, "lag max {lag}");
    assert!(told.hist(Metric::Response, Outcome::Accepted).max_ns() >= 600_000_000);
    assert!(told.is_invalid_by(Code::GeneratorLag), "{:?}", told.summary.validity);
    assert_eq!(told.verdict.exit_code.number(), 98);
    // The next arrivals are not shifted (M6): the number of arrivals is as planned, and the last one is not late.
    let offered = told.summary.phases[0].offered_per_s;
    assert!((499.9..=500.1).contains(&offered), "{offered}");
}

#[test]
fn m6_the_number_of_arrivals_is_exact() {
    let plan = plan(vec![phase(rate(333.33), Some(6 * SECOND), Unit::Message)]);
    let told = run(&plan, Limits::default());
    assert!(told.counts().scheduled.abs_diff(2000) <= 1, "{:?}", told.counts());
    assert_eq!(told.of(Outcome::Accepted), told.counts().scheduled);
    // With drift they would end after their phase.
    let (took, longest) = (told.measured.took.as_secs_f64(), told.hist(Metric::Response, Outcome::Accepted));
    assert!(took < 8.0 + longest.max_ns() as f64 / 1e9, "{took}");
    told.below("M6: the run's length", took, 8.0);
}

#[test]
fn m9_the_clock_starts_before_the_name_is_looked_up() {
    let mut plan = plan(vec![phase(rate(20.0), Some(2 * SECOND), Unit::Session)]);
    plan.messages = Messages::Fixed(1);
    let told = Testbed { resolver: Some(Answers::slow(ms(300))), ..Testbed::default() }.run(&plan);
    let of = |metric| told.hist(metric, Outcome::Accepted);
    assert_eq!(of(Metric::Step(Step::Dns)).count(), 40);
    assert!(of(Metric::Step(Step::Dns)).min_ns() >= 300_000_000);
    assert!(of(Metric::Response).min_ns() >= 300_000_000);
    assert!(told.quantile(Metric::Response, 0.5) >= 0.3);
    assert!(of(Metric::Step(Step::Connect)).min_ns() < 300_000_000);
    assert!(of(Metric::Step(Step::Greeting)).min_ns() < 300_000_000);
}

#[test]
fn the_time_of_a_refused_opening_ends_before_its_quit() {
    side_by_side(UNITS, |unit| {
        let mut plan = plan(vec![phase(rate(20.0), Some(SECOND), unit)]);
        plan.messages = messages(unit);
        plan.script.pipelining = Pipelining::Require;
        let slow = delayed(|delays| delays.quit = Delay::fixed(2 * SECOND));
        let told = run(&plan, Limits { offers: Offers::NONE, ..slow });
        assert_eq!(told.of(Outcome::Refused), told.counts().scheduled, "{:?}", told.counts());
        let response = told.hist(Metric::Response, Outcome::Refused).max_ns() as f64 / 1e9;
        told.below("the response of a refused opening", response, 1.5);
    });
}

#[test]
fn m9_a_listener_that_is_slow_to_accept_is_slow_in_its_greeting() {
    let mut plan = plan(vec![phase(rate(20.0), Some(SECOND), Unit::Session)]);
    plan.messages = Messages::Fixed(1);
    let told = run(&plan, delayed(|delays| delays.greeting = Delay::fixed(ms(300))));
    let of = |step| told.hist(Metric::Step(step), Outcome::Accepted);
    // If the generator notices a connection late, this time is missing from the greeting, but never from the response.
    assert!(told.hist(Metric::Response, Outcome::Accepted).min_ns() >= 300_000_000);
    assert!(of(Step::Greeting).max_ns() >= 250_000_000 && of(Step::Hello).min_ns() < 300_000_000);
    // The delay of the greeting is not part of the connect step, which is the smaller one of the two.
    let (connect, greeting) = (of(Step::Connect), of(Step::Greeting));
    assert!(connect.min_ns() < greeting.max_ns() / 2, "{} {}", connect.min_ns(), greeting.max_ns());
    told.below("M9: connect min", connect.min_ns() as f64 / 1e9, 0.05);
    told.below("M9: what is missing from the greeting", 0.3 - greeting.min_ns() as f64 / 1e9, 0.05);
    assert_eq!(of(Step::Dns).count(), 0, "an address is not looked up");

    // The kernel accepts the connections, but the listener does not for one second.
    let stall = Some(Stall { from: ms(300), length: SECOND });
    let told = run(&plan, Limits { stall, ..Limits::default() });
    let of = |step| told.hist(Metric::Step(step), Outcome::Accepted);
    assert!(of(Step::Greeting).max_ns() >= 700_000_000, "{}", of(Step::Greeting).max_ns());
    let (connect, greeting) = (of(Step::Connect).max_ns(), of(Step::Greeting).max_ns());
    assert!(connect < greeting, "connect max {connect}, greeting max {greeting}");
    told.below("M9: connect max", connect as f64 / 1e9, 0.5);
    assert!(told.hist(Metric::Response, Outcome::Accepted).max_ns() >= 700_000_000);
}

#[test]
fn m9_a_lost_syn_is_in_the_connect_step_and_in_the_response() {
    // The accept queue has one slot, which is taken. So the kernel drops the next SYN, and the client's kernel repeats
    // it after 1 s.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let addr = listener.local_addr().unwrap();
    let first = TcpStream::connect(addr).unwrap();
    let serving = std::thread::spawn(move || {
        // This wait has no bound, because a client that never connects fails by its time-out.
        while !is_syn_sent_to(addr.port()) {
            std::thread::sleep(ms(10));
        }
        drop(listener.accept().unwrap());
        scribe::serve(&listener.accept().unwrap().0).unwrap()
    });
    let mut plan = plan(vec![phase(rate(1.0), Some(SECOND), Unit::Session)]);
    plan.messages = Messages::Fixed(1);
    plan.script.timeouts.connect = 30 * SECOND;
    let told = run_against(&plan, addr, || Some(1));
    drop(first);
    assert!(!serving.join().unwrap().is_empty());
    let least = |metric| Duration::from_nanos(told.hist(metric, Outcome::Accepted).min_ns());
    assert_eq!(told.of(Outcome::Accepted), 1);
    assert!(least(Metric::Step(Step::Connect)) >= ms(990), "{:?}", least(Metric::Step(Step::Connect)));
    assert!(least(Metric::Response) >= ms(990), "{:?}", least(Metric::Response));
}

/// Whether a socket of this machine has sent a SYN to this port and waits for the answer.
fn is_syn_sent_to(port: u16) -> bool {
    // `sl local_address rem_address st ...`, in hexadecimal; 02 is SYN_SENT.
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let there = format!("0100007F:{port:04X} 02 ");
    table.lines().any(|line| line.contains(&there))
}
