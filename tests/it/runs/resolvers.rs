//! Resolvers that answer as a test needs it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use smtpress::net::dial::Resolve;

/// Each look-up has the next of `answers`, and the last stays.
#[derive(Debug, Default)]
pub struct Answers {
    pub answers: Vec<Vec<IpAddr>>,
    /// How long a lookup takes.
    pub delay: Duration,
    /// How long it holds up its whole thread, as a machine without a free processor does.
    pub hold: Duration,
    asked: AtomicUsize,
}

impl Answers {
    /// These answers, at once.
    pub fn new(answers: Vec<Vec<IpAddr>>) -> Arc<Answers> {
        Arc::new(Answers { answers, ..Answers::default() })
    }

    /// The first address of loopback, after `delay`.
    pub fn slow(delay: Duration) -> Arc<Answers> {
        Arc::new(Answers { delay, answers: vec![vec![[127, 0, 0, 1].into()]], ..Answers::default() })
    }

    /// The first address of loopback, by a lookup that holds up its thread.
    pub fn holding(hold: Duration) -> Arc<Answers> {
        Arc::new(Answers { hold, answers: vec![vec![[127, 0, 0, 1].into()]], ..Answers::default() })
    }
}

impl Resolve for Answers {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> LocalBoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            tokio::time::sleep(self.delay).await;
            std::thread::sleep(self.hold);
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = self.answers.get(asked).or(self.answers.last());
            Ok(answer.into_iter().flatten().map(|address| SocketAddr::new(*address, port)).collect())
        })
    }
}
