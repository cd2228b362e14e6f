//! What is reported of a stored run, read by readers that are not ours.

mod forms;
mod junit;
mod logs;
pub mod readers;
