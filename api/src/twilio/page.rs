//! Pages of lists.

use axum::response::Response;
use reqwest::Url;
use serde_json::{Map, Value, json};
use store::Cursor;

use super::{Call, Error, shown};

/// The items of a page whose size the client does not say, and the most of any.
const USUAL: u32 = 50;
const MOST: u32 = store::MAX_PAGE;

/// The page that a client asked for.
pub(super) struct Asked {
    number: u32,
    pub(super) size: u32,
    token: Option<String>,
}

impl Asked {
    pub(super) fn of(call: &Call<'_>) -> Result<Self, Error> {
        let form = &call.form;
        Ok(Self {
            number: form.number("Page", 0..=u32::MAX)?.unwrap_or_default(),
            size: form.number("PageSize", 1..=MOST)?.unwrap_or(USUAL),
            token: form.text("PageToken").map(str::to_owned),
        })
    }

    /// Where a list that the database pages goes on.
    pub(super) fn cursor(&self) -> Result<Option<Cursor>, Error> {
        let Some(token) = &self.token else {
            // A page is found by what the one before says.
            return match self.number {
                0 => Ok(None),
                _ => Err(Error::invalid(
                    "Page: follow next_page_uri of the page before",
                )),
            };
        };
        let wrong = |_| Error::invalid("PageToken is none of next_page_uri");
        token.parse().map(Some).map_err(wrong)
    }

    /// The page of a short list.
    pub(super) fn slice(
        &self,
        call: &Call<'_>,
        key: &str,
        items: impl IntoIterator<Item = Value>,
    ) -> Response {
        let skipped = u64::from(self.number) * u64::from(self.size);
        let mut items = items
            .into_iter()
            .skip(usize::try_from(skipped).unwrap_or(usize::MAX));
        let page: Vec<Value> = items.by_ref().take(self.size as usize).collect();
        let next = items.next().map(|_| None);
        self.page(call, key, page, next)
    }

    /// A page: `next` is there where there is another one, with what it is found by.
    pub(super) fn page(
        &self,
        call: &Call<'_>,
        key: &str,
        items: Vec<Value>,
        next: Option<Option<String>>,
    ) -> Response {
        let start = u64::from(self.number) * u64::from(self.size);
        let end = (start + items.len() as u64).saturating_sub(1).max(start);
        let place = |number: u32, token: Option<&str>| {
            let path = call.uri.path();
            // Only to write a query.
            let Ok(mut url) = Url::parse("http://localhost/") else {
                return path.to_owned();
            };
            let mut pairs = url.query_pairs_mut();
            pairs.extend_pairs(call.form.filters());
            pairs.append_pair("PageSize", &self.size.to_string());
            pairs.append_pair("Page", &number.to_string());
            if let Some(token) = token {
                pairs.append_pair("PageToken", token);
            }
            drop(pairs);
            format!("{path}?{}", url.query().unwrap_or_default())
        };
        // What is found by a token goes on, and not back, but for the first page.
        let back = match self.number {
            0 => None,
            1 => Some(0),
            number => self.token.is_none().then(|| number - 1),
        };
        let next = next.map(|token| place(self.number.saturating_add(1), token.as_deref()));
        let mut page = Map::new();
        page.insert(key.to_owned(), items.into());
        for (name, value) in [
            ("first_page_uri", json!(place(0, None))),
            ("next_page_uri", json!(next)),
            (
                "previous_page_uri",
                json!(back.map(|number| place(number, None))),
            ),
            ("uri", json!(place(self.number, self.token.as_deref()))),
            ("page", json!(self.number)),
            ("page_size", json!(self.size)),
            ("start", json!(start)),
            ("end", json!(end)),
        ] {
            page.insert(name.to_owned(), value);
        }
        shown(page.into())
    }
}
