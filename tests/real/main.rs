//! smtpress against real listeners: Postfix, Exim, Sendmail, Courier and others, each a private instance on a loopback port.
//!
//! `tests/real/install.sh` installs them. If one is missing, its tests print `skipped: ...` on standard error and pass;
//! with `SMTPRESS_REAL=required` in the environment, as in CI, they fail. The listeners need root to change users.
//!
//! The tests compare with the listener's own log or counter. No test depends on timing.

#![expect(
    clippy::unwrap_used,
    reason = "in a test what fails must end it, also in the functions that tests share"
)]

mod against_aiosmtpd;
mod against_exim;
mod against_more;
mod against_opensmtpd;
mod against_postfix;
mod against_sink;
mod aiosmtpd;
mod authenticated;
mod capacity;
mod certificate;
mod chunked;
mod clock_probe;
mod courier;
mod death;
mod delivered;
mod delivery_log;
mod dovecot;
mod draw;
mod encrypted;
mod exim;
mod exim_relay;
mod faults;
mod faults_of_relays;
mod faulty_relay;
mod fleet;
mod fleet_access;
mod fleet_capacity;
mod fleet_clock;
mod fleet_faults;
mod fleet_files;
mod fleet_limit;
mod fleet_messages;
mod fleet_network;
mod fleet_profiles;
mod fleet_receiver;
mod fleet_resume;
mod fleet_shapes;
mod fleet_ssh;
mod fleet_union;
mod fleet_watched;
mod greylisted;
mod haraka;
mod limits;
mod limits_drawn;
mod limits_whole;
mod listener;
mod manners;
mod odd_certificates;
mod opensmtpd;
mod pipelined;
mod postfix;
mod postgrey;
mod qpsmtpd;
mod redis;
mod relay;
mod relay_capacity;
mod relayed;
mod rooted;
mod scraped;
mod sendmail;
mod sink;
mod slurm;
mod smtp_server;
mod smtpress;
mod sshd;
mod table;
mod traced;
