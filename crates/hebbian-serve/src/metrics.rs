//! Counts and times, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::queue::Counts;

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

    /// All of it.
    pub(crate) fn text(&self) -> Text {
        let mut text = Text::default();
        text.head("requests_total", "Requests answered.", "counter");
        for ((route, status), count) in
            self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter()
        {
            text.line(
                "requests_total",
                &[("route", route), ("status", &status.to_string())],
                count,
            );
        }
        text.head("request_seconds", "Time to answer.", "histogram");
        for (route, times) in self.times.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let mut bucket = |bound: &str, count| {
                text.line("request_seconds_bucket", &[("route", route), ("le", bound)], count);
            };
            for (count, bound) in times.buckets.iter().zip(BOUNDS) {
                bucket(&bound.to_string(), count);
            }
            bucket("+Inf", &times.count);
            text.line("request_seconds_sum", &[("route", route)], times.seconds);
            text.line("request_seconds_count", &[("route", route)], times.count);
        }
        let count = |value: &AtomicUsize| value.load(Ordering::Relaxed) as u64;
        text.gauge("in_flight", "Requests being answered.", count(&self.in_flight));
        let help = "Times the changed gallery could not be opened.";
        text.counter("reload_failures_total", help, count(&self.reload_failures));
        text
    }
}

/// Text in the making.
#[derive(Default)]
pub(crate) struct Text(String);

impl Text {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.0 += &format!("# HELP hebb_{name} {help}\n# TYPE hebb_{name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        self.0 += &format!("hebb_{name}{labels} {value}\n");
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "gauge");
        self.line(name, &[], value);
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.line(name, &[], value);
    }

    /// What the queue called `name` has done.
    pub(crate) fn queue(&mut self, name: &str, counts: &Counts) {
        let count = |value: &AtomicUsize| value.load(Ordering::Relaxed) as u64;
        let [waiting, batches, answered] =
            ["waiting", "batches_total", "answered_total"].map(|what| format!("{name}_{what}"));
        self.gauge(&waiting, "Questions that wait.", count(&counts.waiting));
        self.counter(&batches, "Batches answered.", count(&counts.batches));
        self.counter(&answered, "Questions in them.", count(&counts.questions));
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}
