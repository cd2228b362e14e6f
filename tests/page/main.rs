//! `report.html` in a real browser: headless Chromium opens it and returns what a user would see.
//!
//! Without Chromium these tests are skipped with a message. Pictures of every page are kept in `target/tmp/page`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test what fails must end it, also in the functions that tests share"
)]

mod browser;
mod compared;
mod delivery;
mod figures;
mod live;
mod long;
mod looks;
mod policy;
mod stage;
