//! `TANDEM_SECTION_KEY` variables laid over the file: `TANDEM_SIP_LISTEN="udp:10.0.0.1:5060"`.

use toml::{Table, Value};

use super::Config;

const PREFIX: &str = "TANDEM_";
const SECTIONS: [&str; 6] = ["node", "sip", "media", "api", "store", "voice"];

/// Lays the variables over the file's table. Tells whether one applied.
///
/// Variables that name no key are warned of and left alone: Kubernetes sets `TANDEM_…` variables of
/// its own for a service of that name. One that names a key and does not fit goes into `errors`: a node
/// should not run with another setting than it was given.
pub(super) fn overlay(
    table: &mut Table,
    variables: impl IntoIterator<Item = (String, String)>,
    warnings: &mut Vec<String>,
    errors: &mut Vec<String>,
) -> bool {
    let mut changed = false;
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let lower = rest.to_ascii_lowercase();
        let Some((section, key)) = lower
            .split_once('_')
            .filter(|(section, _)| SECTIONS.contains(section))
        else {
            continue;
        };
        match place(section, key, &value) {
            Ok(value) => {
                let entry = table
                    .entry(section)
                    .or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(entry) = entry {
                    entry.insert(key.to_owned(), value);
                    changed = true;
                }
            }
            // serde's words for a key that the section does not have; there is no code for it.
            Err(error) if !error.message().starts_with("unknown field") => {
                errors.push(format!("the environment's {name}: {}", error.message()));
            }
            Err(error) => warnings.push(format!(
                "the environment's {name} is ignored: {}",
                error.message()
            )),
        }
    }
    changed
}

/// The reading of `text` that fits the key: as it is, as a TOML value, or as a list with commas.
fn place(section: &str, key: &str, text: &str) -> Result<Value, toml::de::Error> {
    let plain = Value::String(text.to_owned());
    let error = match fits(section, key, &plain) {
        Ok(()) => return Ok(plain),
        Err(error) => error,
    };
    let typed = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"));
    let list = Value::Array(
        text.split(',')
            .map(|item| Value::String(item.trim().to_owned()))
            .collect(),
    );
    typed
        .into_iter()
        .chain([list])
        .find(|value| fits(section, key, value).is_ok())
        .ok_or(error)
}

fn fits(section: &str, key: &str, value: &Value) -> Result<(), toml::de::Error> {
    let inner = Table::from_iter([(key.to_owned(), value.clone())]);
    let outer = Table::from_iter([(section.to_owned(), Value::Table(inner))]);
    outer.try_into::<Config>().map(drop)
}
