//! Reports of stored runs, read by independent programs.

mod forms;
mod junit;
mod logs;
pub mod readers;
