//! smtpress: an SMTP load and concurrency stress tester.
//!
//! A **profile** becomes a **plan**; the **generator** asks **load** when and **mail** what, speaks **smtp** over **net**,
//! and fills the **collector**; an **experiment** repeats it, a **verdict** judges it, a **report** tells it.

pub mod collector;
pub mod generator;
pub mod listener;
pub mod load;
pub mod mail;
pub mod net;
pub mod plan;
pub mod profile;
pub mod report;
pub mod smtp;
pub mod verdict;
