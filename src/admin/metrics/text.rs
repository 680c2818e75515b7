//! Prometheus' text format 0.0.4, out of OpenMetrics 1.0.
//!
//! What is written here has neither exemplars nor timestamps, nor a help text with a quote or a
//! backslash; so the two differ in what stands before the samples of a family, and in the end.

/// The same samples. The names in front of them are those of the samples; an info is a gauge.
pub(super) fn of_open_metrics(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut help = "";
    for line in page.lines() {
        let Some(told) = line.strip_prefix("# ") else {
            push(&mut text, &[line]);
            continue;
        };
        let (what, rest) = told.split_once(' ').unwrap_or((told, ""));
        let (name, said) = rest.split_once(' ').unwrap_or((rest, ""));
        match what {
            "HELP" => help = said,
            "TYPE" => {
                let (suffix, kind) = match said {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "stateset" => ("", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                push(&mut text, &["# HELP ", name, suffix, " ", help]);
                push(&mut text, &["# TYPE ", name, suffix, " ", kind]);
                help = "";
            }
            // Units stand in the names, and nothing marks the end.
            _ => {}
        }
    }
    text
}

fn push(text: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| text.push_str(part));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_named_as_their_samples_are() {
        let page = "\
# HELP a_seconds How long
# TYPE a_seconds histogram
# UNIT a_seconds seconds
a_seconds_sum 1.5
a_seconds_count 2
a_seconds_bucket{le=\"1.0\"} 1
a_seconds_bucket{le=\"+Inf\"} 2
# HELP b How often
# TYPE b counter
b_total{x=\"# TYPE b gauge\"} 3
# HELP c What runs
# TYPE c info
c_info{v=\"1\"} 1
# HELP d How many
# TYPE d gauge
d 4
# EOF
";
        let text = "\
# HELP a_seconds How long
# TYPE a_seconds histogram
a_seconds_sum 1.5
a_seconds_count 2
a_seconds_bucket{le=\"1.0\"} 1
a_seconds_bucket{le=\"+Inf\"} 2
# HELP b_total How often
# TYPE b_total counter
b_total{x=\"# TYPE b gauge\"} 3
# HELP c_info What runs
# TYPE c_info gauge
c_info{v=\"1\"} 1
# HELP d How many
# TYPE d gauge
d 4
";
        assert_eq!(of_open_metrics(page), text);
    }
}
