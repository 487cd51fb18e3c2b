//! Puts several pages of Prometheus text into one.

use std::collections::HashSet;

/// A metric family: the lines that belong together.
#[derive(Default)]
struct Family<'a> {
    help: Option<&'a str>,
    kind: Option<&'a str>,
    samples: Vec<&'a str>,
}

/// One page of all of `pages`. Two daemons may have a metric of the same name, such as one of the
/// control channel; a scraper refuses the whole page if such a family is not in one piece, or has a
/// series twice. So families are joined, and of a series that is there twice the first stays.
pub(super) fn merge<'a>(pages: impl IntoIterator<Item = &'a str>) -> String {
    let mut families: Vec<(&str, Family<'_>)> = Vec::new();
    let mut series = HashSet::new();
    for page in pages {
        let mut current = "";
        for line in page.lines().filter(|line| !line.is_empty()) {
            let comment = line
                .strip_prefix("# ")
                .and_then(|rest| rest.split_once(' '));
            let (keyword, rest) = match comment {
                Some((keyword @ ("HELP" | "TYPE"), rest)) => (keyword, rest),
                Some(_) => continue,
                None if line.starts_with('#') => continue,
                None => ("", line),
            };
            let end = rest.find([' ', '{']).unwrap_or(rest.len());
            let name = &rest[..end];
            // The samples of a histogram or summary have suffixes; its family's head stands before.
            let suffix = name.strip_prefix(current);
            let same = matches!(suffix, Some("" | "_bucket" | "_sum" | "_count"));
            if keyword.is_empty() && same && !current.is_empty() {
                // goes to the current family
            } else {
                current = name;
            }
            let at = families.iter().position(|(name, _)| *name == current);
            let at = at.unwrap_or_else(|| {
                families.push((current, Family::default()));
                families.len() - 1
            });
            let family = &mut families[at].1;
            match keyword {
                "HELP" => family.help = family.help.or(Some(line)),
                "TYPE" => family.kind = family.kind.or(Some(line)),
                _ if series.insert(series_of(line)) => family.samples.push(line),
                _ => {}
            }
        }
    }

    let mut text = String::new();
    for (_, family) in families {
        for line in family
            .help
            .iter()
            .chain(&family.kind)
            .chain(&family.samples)
        {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// A sample's name and labels. A label's value may hold anything but an unescaped quote.
fn series_of(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    let end = line.find(|c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' => return !quoted,
            _ => {}
        }
        false
    });
    &line[..end.unwrap_or(line.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_joined_and_series_are_unique() {
        let a = "# HELP up Is it up.\n# TYPE up gauge\nup{d=\"a\"} 1\nup{d=\"x y\\\" z\"} 1\n\
                 # HELP t Time.\n# TYPE t histogram\nt_bucket{le=\"+Inf\"} 1\nt_sum 2\nt_count 1\n";
        let b = "# HELP up Another word.\n# TYPE up gauge\nup{d=\"b\"} 0\nup{d=\"a\"} 0\n\
                 up{d=\"x y\\\" w\"} 0\n# EOF\nbare 3 1700000000\n";
        let expected = "# HELP up Is it up.\n# TYPE up gauge\nup{d=\"a\"} 1\nup{d=\"x y\\\" z\"} 1\n\
                        up{d=\"b\"} 0\nup{d=\"x y\\\" w\"} 0\n\
                        # HELP t Time.\n# TYPE t histogram\nt_bucket{le=\"+Inf\"} 1\nt_sum 2\nt_count 1\n\
                        bare 3 1700000000\n";
        assert_eq!(merge([a, b]), expected);
    }

    #[test]
    fn one_page_stays_as_it_is() {
        let metrics = super::super::Metrics::new();
        metrics.count(
            &axum::http::Method::GET,
            "/v1/calls",
            axum::http::StatusCode::OK,
            std::time::Duration::from_millis(3),
        );
        let page = metrics.text();
        assert!(page.contains("tandem_api_request_seconds_count{route=\"/v1/calls\"} 1"));
        assert_eq!(merge([page.as_str()]), page);
        assert_eq!(merge([]), "");
    }
}
