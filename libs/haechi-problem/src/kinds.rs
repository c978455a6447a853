//! Every kind of problem: the one table behind replies, documents and pages.

use crate::Kind;

macro_rules! kinds {
    ($($name:ident $slug:literal $status:literal $title:literal $help:literal;)*) => {
        $(#[doc = $title]
        pub const $name: Kind = Kind { slug: $slug, title: $title, status: $status };)*

        /// Every kind with its remedy.
        #[must_use]
        pub fn kinds() -> Vec<(Kind, &'static str)> {
            vec![$(($name, $help)),*]
        }
    };
}

kinds! {
    MALFORMED "malformed-request" 400 "The request is malformed" "Mend the request as the detail says; repeating it unchanged will fail again.";
    INVALID_FILTER "invalid-filter" 400 "The filter cannot be read" "The detail names the column. See docs/rest.md for the filter language.";
    TOO_COSTLY "too-costly" 400 "The question needs too much work" "Narrow the filter, or ask the people who run the service for an index; `haechi explain --sql` names it.";
    INVALID_PAGE_TOKEN "invalid-page-token" 400 "The page token is not valid here" "Start again from the first page: a token belongs to one caller and one query, for 24 hours.";
    USE_QUERY_BODY "use-query-body" 400 "A personal field must not stand in a URL" "Send the same query as a JSON body to POST /api/v1/COLLECTION:query.";
    INVALID_DOCUMENT "invalid-document" 400 "The GraphQL document is not valid" "Mend the document as the message says; `haechi generate graphql` prints the schema.";
    PERSISTED_QUERY_NOT_FOUND "persisted-query-not-found" 404 "No document has this hash here" "Send the document together with its hash once; then the hash alone is enough.";
    UNAUTHENTICATED "unauthenticated" 401 "Who you are is not known" "Send Authorization: Bearer with a token that is alive.";
    SIGN_IN_FAILED "sign-in-failed" 401 "The address or the password is wrong" "Check both. What is wrong is not told, so that nobody learns who has an account.";
    FRESH_SIGN_IN "fresh-sign-in-needed" 401 "The sign-in is too long ago for this" "Sign in again and repeat the request with the new session.";
    FORBIDDEN "forbidden" 403 "Policy does not allow this" "Ask the people who run the service; the request id finds the decision in the ledger.";
    NOT_FOUND "not-found" 404 "There is nothing here for you" "Check the path and the id. What you may not read looks the same as what is not there.";
    METHOD_NOT_ALLOWED "method-not-allowed" 405 "The method is not served here" "The Allow header names the methods that are.";
    NOT_ACCEPTABLE "not-acceptable" 406 "No media type that is asked for is served here" "Accept a media type that the detail names.";
    TIMEOUT "timeout" 408 "The request took too long" "Send the request faster, or ask for less.";
    CONFLICT "conflict" 409 "The change conflicts with another" "Read the record again and decide anew.";
    NOT_UNIQUE "not-unique" 409 "Another record has the same value" "Choose another value for the fields named.";
    NOT_A_TRANSITION "not-a-transition" 409 "The state does not follow the one that the record has" "Read the record again; the detail names the words that may follow.";
    REFERENCED "referenced" 409 "Other records refer to this one" "Delete or change the records that refer to it first.";
    TOO_MANY_CHILDREN "too-many-children" 409 "The delete would take too many records with it" "Delete the records that refer to it in parts of at most 1 000.";
    POSITION_GONE "position-gone" 410 "The position is too old" "Open the stream without a position, and read the list again.";
    VERSION_MISMATCH "version-mismatch" 412 "The record has another version" "Read the record again, apply the change to what it says now, and send its new ETag.";
    INVALID_CODE "invalid-code" 400 "The code is not valid" "A code works once, for one purpose and for a short time. Ask for a new one.";
    TOO_LARGE "too-large" 413 "The body is too large" "Send less at a time.";
    UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" 415 "The body is not JSON" "Send Content-Type: application/json (PATCH also takes application/merge-patch+json).";
    INVALID_FIELDS "invalid-fields" 422 "Fields are not valid" "Each error names its place; mend all of them and send the request again.";
    REPLY_TOO_LARGE "reply-too-large" 422 "The reply would be too large" "Ask for fewer records (page_size, first), for fewer fields, or without expansions.";
    KEY_REUSED "idempotency-key-reused" 422 "The idempotency key belongs to another request" "Choose a new key for a new request.";
    TOO_MANY_ATTEMPTS "too-many-attempts" 429 "There were too many attempts" "Try again after the time that Retry-After names.";
    TOO_MANY_REQUESTS "too-many-requests" 429 "There were too many requests" "Send fewer a minute; the RateLimit headers say how many there may be.";
    HEADERS_TOO_LARGE "headers-too-large" 431 "The request's head is too large" "Send fewer or shorter headers.";
    INTERNAL "internal" 500 "Something failed inside" "Nothing was changed. Give the request id to the people who run the service.";
    UNKNOWN "unknown-outcome" 500 "Whether the change was made is not known" "Send it again with the same Idempotency-Key: it happens at most once.";
    BUSY "busy" 503 "Too much is waiting" "Try again after the time that Retry-After names.";
    CONTENDED "contended" 503 "Others change the same records" "Try again after the time that Retry-After names.";
    NOT_IMPLEMENTED "not-implemented" 501 "The body's framing is not understood" "Send the body as it is, with Content-Length, or with Transfer-Encoding: chunked alone.";
    UNAVAILABLE "unavailable" 503 "The database cannot be reached" "Try again after the time that Retry-After names.";
    FULL "storage-full" 507 "There is no room left" "The people who run the service must make room. Nothing was changed.";
}
