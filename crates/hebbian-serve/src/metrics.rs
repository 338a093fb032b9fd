//! Counts and times, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the histogram, in seconds.
const BOUNDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

#[derive(Default)]
struct Times {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    seconds: f64,
}

/// What is counted of requests.
#[derive(Default)]
pub(crate) struct Metrics {
    /// By route and status; routes are few and fixed, so this is bounded.
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    times: Mutex<BTreeMap<String, Times>>,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) reload_failures: AtomicUsize,
}

impl Metrics {
    pub(crate) fn record(&self, route: &str, status: u16, time: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route.to_owned(), status)).or_default() += 1;
        drop(requests);
        let seconds = time.as_secs_f64();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.entry(route.to_owned()).or_default();
        for (bucket, bound) in times.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
        times.count += 1;
        times.seconds += seconds;
    }

    /// Everything, and the gauges given.
    pub(crate) fn text(&self, gauges: &[(&str, &str, u64)]) -> String {
        let mut text = String::from(
            "# HELP hebb_requests_total Requests answered.\n# TYPE hebb_requests_total counter\n",
        );
        // Writing to a string can't fail.
        for ((route, status), count) in
            self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter()
        {
            let labels = format!("route=\"{route}\",status=\"{status}\"");
            let _ = writeln!(text, "hebb_requests_total{{{labels}}} {count}");
        }
        text +=
            "# HELP hebb_request_seconds Time to answer.\n# TYPE hebb_request_seconds histogram\n";
        for (route, times) in self.times.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for (bucket, bound) in times.buckets.iter().zip(BOUNDS) {
                let labels = format!("route=\"{route}\",le=\"{bound}\"");
                let _ = writeln!(text, "hebb_request_seconds_bucket{{{labels}}} {bucket}");
            }
            let Times { count, seconds, .. } = times;
            let labels = format!("route=\"{route}\"");
            let _ = writeln!(text, "hebb_request_seconds_bucket{{{labels},le=\"+Inf\"}} {count}");
            let _ = writeln!(text, "hebb_request_seconds_sum{{{labels}}} {seconds}");
            let _ = writeln!(text, "hebb_request_seconds_count{{{labels}}} {count}");
        }
        let own = [
            ("in_flight", "Requests being answered.", &self.in_flight),
            (
                "reload_failures",
                "Times the changed gallery could not be opened.",
                &self.reload_failures,
            ),
        ];
        let own = own.map(|(name, help, value)| (name, help, value.load(Ordering::Relaxed) as u64));
        for (name, help, value) in own.iter().chain(gauges) {
            let _ = write!(
                text,
                "# HELP hebb_{name} {help}\n# TYPE hebb_{name} gauge\nhebb_{name} {value}\n"
            );
        }
        text
    }
}
