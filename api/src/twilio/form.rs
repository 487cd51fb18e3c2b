//! What a client sends: a form, or for a GET a query.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest as _, Query},
    http::{HeaderMap, Method, Request, Uri, header},
};

use super::Error;

/// Names and values in the order in which they came; names may repeat.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Of a GET and a DELETE those of the query, else those of the body.
    pub(super) async fn read(
        method: &Method,
        headers: &HeaderMap,
        uri: &Uri,
        body: Bytes,
    ) -> Result<Self, Error> {
        if *method != Method::POST {
            let Ok(Query(pairs)) = Query::try_from_uri(uri) else {
                return Err(Error::invalid("the query is malformed"));
            };
            return Self::of(pairs);
        }
        let kind = headers.get(header::CONTENT_TYPE);
        if body.is_empty() && kind.is_none() {
            return Ok(Self::default());
        }
        let mut request = Request::post("/")
            .body(Body::from(body))
            .unwrap_or_default();
        let kind = kind.map(|kind| (header::CONTENT_TYPE, kind.clone()));
        request.headers_mut().extend(kind);
        match axum::Form::from_request(request, &()).await {
            Ok(axum::Form(pairs)) => Self::of(pairs),
            Err(_) => Err(Error::invalid(
                "send a form, and 'Content-Type: application/x-www-form-urlencoded'",
            )),
        }
    }

    fn of(pairs: Vec<(String, String)>) -> Result<Self, Error> {
        // PostgreSQL's text cannot hold it.
        if pairs.iter().any(|(_, value)| value.contains('\0')) {
            return Err(Error::invalid("a parameter has a NUL in it"));
        }
        Ok(Self(pairs))
    }

    /// The value of a name; the first one where there are several. Empty is as good as none.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    /// The same, where empty is a value.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a name, and of those that are written with several in one, by spaces or commas.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let own = self.0.iter().filter(|(own, _)| own == name);
        let parts = own.flat_map(|(_, value)| value.split([' ', ',']));
        parts
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// A number within bounds.
    pub(super) fn number(
        &self,
        name: &str,
        bounds: std::ops::RangeInclusive<u32>,
    ) -> Result<Option<u32>, Error> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        let (low, high) = bounds.into_inner();
        let wrong = || Error::invalid(format!("{name} is not in {low} to {high}"));
        number.map(Some).ok_or_else(wrong)
    }

    /// Yes or no.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.text(name) {
            None | Some("false" | "False") => Ok(false),
            Some("true" | "True") => Ok(true),
            Some(_) => Err(Error::invalid(format!("{name} is neither true nor false"))),
        }
    }

    /// One of a few words, as it is written.
    pub(super) fn one_of<'a>(
        &self,
        name: &str,
        words: &[&'a str],
    ) -> Result<Option<&'a str>, Error> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let word = words.iter().find(|word| text.eq_ignore_ascii_case(word));
        let wrong = || Error::invalid(format!("{name} is none of {}", words.join(", ")));
        word.copied().map(Some).ok_or_else(wrong)
    }

    /// The names and values that a list is filtered by.
    pub(super) fn filters(&self) -> impl Iterator<Item = (&str, &str)> {
        let paging = ["Page", "PageSize", "PageToken"];
        let filters = self
            .0
            .iter()
            .filter(move |(name, _)| !paging.contains(&name.as_str()));
        filters.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(body: &'static str) -> Result<Form, Error> {
        let kind = header::HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = [(header::CONTENT_TYPE, kind)].into_iter().collect();
        Form::read(&Method::POST, &headers, &Uri::default(), body.into()).await
    }

    #[tokio::test]
    async fn names_repeat_and_what_is_empty_is_none() {
        let form = "To=%2B15550100&Event=a&Event=b+c&Url=&StartTime%3E=2026-01-01&n=7";
        let form = read(form).await.unwrap();
        assert_eq!(form.text("To"), Some("+15550100"));
        assert_eq!(form.all("Event"), ["a", "b", "c"]);
        assert_eq!((form.text("Url"), form.given("Url")), (None, Some("")));
        assert_eq!(form.text("StartTime>"), Some("2026-01-01"));
        assert_eq!(form.number("n", 1..=9).unwrap(), Some(7));
        assert!(form.number("n", 1..=6).is_err());
        assert!(form.flag("To").is_err());
        assert!(read("a=%00").await.is_err());
        // As it is typed behind `curl -d`.
        let form = read("Twiml=<Response>\n<Say>a b</Say></Response>")
            .await
            .unwrap();
        assert_eq!(
            form.text("Twiml"),
            Some("<Response>\n<Say>a b</Say></Response>")
        );
    }
}
