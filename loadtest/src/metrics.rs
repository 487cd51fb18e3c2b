//! Reads a Prometheus text page.

use std::collections::BTreeMap;

/// A page of metrics, as it was at one moment.
#[derive(Clone, Debug, Default)]
pub struct Page(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Page {
    /// Reads the text; lines that are no samples are passed over.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    /// The sum of all samples of `name` whose labels are among others those of `labels`.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let values = self.matching(name, labels).map(|sample| sample.value);
        // The sum of nothing is -0, which people are shown.
        0.0 + values.sum::<f64>()
    }

    /// The values of `label` in the samples of `name` that are not 0.
    pub fn labels(&self, name: &str, label: &str) -> Vec<String> {
        self.matching(name, &[])
            .filter(|sample| sample.value != 0.0)
            .filter_map(|sample| sample.labels.get(label).cloned())
            .collect()
    }

    fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            let has = |(key, value): &(&str, &str)| {
                sample.labels.get(*key).is_some_and(|have| have == value)
            };
            sample.name == name && labels.iter().all(has)
        })
    }
}

fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.trim().rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    // No label of ours has a comma or an escape in its value.
    let labels = labels
        .split(',')
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((key.trim().to_owned(), value.trim_matches('"').to_owned()))
        })
        .collect();
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a b\na{path=\"xdp\",result=\"ok\"} 5\na{path=\"shard\",result=\"ok\"} 2\n\
        mode{mode=\"xdp\"} 1\nmode{mode=\"io-uring\"} 0\nb_sum 8.5\n";

    #[test]
    fn sums_and_labels() {
        let page = Page::parse(TEXT);
        assert_eq!(page.sum("a", &[]), 7.0);
        assert_eq!(page.sum("a", &[("path", "xdp")]), 5.0);
        assert_eq!(page.sum("b_sum", &[]), 8.5);
        assert_eq!(page.sum("none", &[]).to_string(), "0");
        assert_eq!(page.labels("mode", "mode"), ["xdp"]);
    }
}
