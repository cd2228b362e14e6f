//! The flags of the exporters of a run in progress.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use crate::telemetry::Settings;

/// The live page, and the destinations of metrics.
#[derive(Debug, Default, Args)]
pub struct TelemetryArgs {
    /// Serve the report live at this address; port 0: any
    #[arg(long, value_name = "ADDR", env = "SMTPRESS_DASHBOARD")]
    pub dashboard: Option<SocketAddr>,
    /// Serve metrics to Prometheus; --linger 30s keeps them
    #[arg(long, value_name = "ADDR", env = "SMTPRESS_PROMETHEUS")]
    pub prometheus: Option<SocketAddr>,
    /// How long the final metrics stay there for a last scrape [30s]
    #[arg(
        long,
        hide = true,
        value_name = "TIME",
        env = "SMTPRESS_LINGER",
        value_parser = humantime::parse_duration
    )]
    pub linger: Option<Duration>,
    /// Push metrics by OTLP (HTTP) to this URL: http://127.0.0.1:4318
    #[arg(long, value_name = "URL", env = "SMTPRESS_OTLP")]
    pub otlp: Option<String>,
    /// Let other machines reach the live page and the metrics
    #[arg(long)]
    pub live_beyond_loopback: bool,
}

impl TelemetryArgs {
    /// Returns the settings of the exporters.
    pub fn settings(&self) -> Settings {
        Settings {
            dashboard: self.dashboard,
            prometheus: self.prometheus,
            linger: self.linger,
            otlp: self.otlp.clone(),
            beyond_loopback: self.live_beyond_loopback,
        }
    }
}
