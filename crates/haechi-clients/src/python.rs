//! A module for Python: `haechi_client.py`.
//!
//! The client is written once, for `asyncio`; the blocking one is the same text without `async` and `await`.

use crate::{
    File, MARK,
    shape::{Kind, Shape, capital, free, shapes},
};
use haechi_model::{App, Field};
use std::fmt::Write;

const CLIENT: &str = include_str!("python/client.py");
const LIVE: &str = include_str!("python/live_async.py");
const LIVE_BLOCKING: &str = include_str!("python/live_sync.py");
const BEGIN: &str = "# ---- async ----\n";
const END: &str = "\n\n# ---- end of async ----\n";

const IMPORTS: &str = "# pyright: strict
from __future__ import annotations

import asyncio
import builtins
import json
import random
import re
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final, Generic, Literal, Never, NotRequired, Required, Self, TypedDict, TypeVar, cast, overload
from urllib.parse import quote

import httpx
";

/// What turns the client for `asyncio` into the blocking one, in this order.
const BLOCKING: [(&str, &str); 14] = [
    ("async def ", "def "),
    ("async with ", "with "),
    ("async for ", "for "),
    ("await ", ""),
    ("AsyncBaseTransport", "BaseTransport"),
    ("httpx.AsyncClient", "httpx.Client"),
    ("AsyncClientBase", "ClientBase"),
    ("AsyncIterator", "Iterator"),
    ("Async", ""),
    ("aiter_text", "iter_text"),
    ("aread", "read"),
    ("aclose", "close"),
    ("__aenter__", "__enter__"),
    ("__aexit__", "__exit__"),
];

/// Words that cannot be names in Python.
const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else", "except",
    "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

/// Names that the client, and a collection of it, have themselves.
const OF_CLIENT: &[&str] = &["auth", "batch", "close", "aclose", "credential", "http", "lost", "request", "silence", "timeout", "token"];
const OF_COLLECTION: &[&str] =
    &["get", "list", "pages", "all", "aggregate", "create", "update", "delete", "upsert", "change", "remove", "watch", "live"];

pub(crate) fn files(app: &App) -> Vec<File> {
    let all = shapes(app, &taken());
    let (before, rest) = CLIENT.split_once(BEGIN).unwrap_or((CLIENT, ""));
    let parallel = rest.split(END).next().unwrap_or_default();
    let blocking = BLOCKING.iter().fold(parallel.to_owned(), |text, (from, to)| text.replace(from, to)).replace("asyncio.sleep", "time.sleep");
    let parts = [
        format!("# {MARK} python`. Do not change it: run that again.\n{IMPORTS}\n"),
        before.trim_end().to_owned(),
        format!("\n\n# ---- this app ----\n\n{}", types(app, &all)),
        format!("\n# ---- for asyncio ----\n{parallel}\n\n{LIVE}"),
        format!("\n\n{}", client(&all, true)),
        format!("\n# ---- blocking ----\n{blocking}\n\n{LIVE_BLOCKING}"),
        format!("\n\n{}", client(&all, false)),
    ];
    let mut text = parts.concat();
    // A module names nothing that it does not use.
    if text.matches("Never").count() == 1 {
        text = text.replace("Never, ", "");
    }
    vec![File { name: "haechi_client.py", text }]
}

/// Names of types that the client has itself, or that it uses.
fn taken() -> Vec<&'static str> {
    const USED: [&str; 24] = [
        "Any",
        "Auth",
        "AsyncAuth",
        "AsyncHaechi",
        "AsyncIterator",
        "Callable",
        "Client",
        "ClientBase",
        "Collection",
        "Exception",
        "Final",
        "Generic",
        "Haechi",
        "Iterator",
        "Literal",
        "Mapping",
        "NotRequired",
        "Operation",
        "ProblemKind",
        "Required",
        "Self",
        "Sequence",
        "TypeVar",
        "TypedDict",
    ];
    let declared = CLIENT.lines().filter_map(|line| line.strip_prefix("class ")?.split(['(', ':']).next());
    let variables = CLIENT.lines().filter_map(|line| line.split_once(" = TypeVar(").map(|(name, _)| name));
    declared.chain(variables).chain(USED).chain(["Direction"]).collect()
}

fn text(of: &str) -> String {
    serde_json::Value::from(of).to_string()
}

fn words(names: &[&str]) -> String {
    if names.is_empty() { "Never".to_owned() } else { format!("Literal[{}]", names.iter().map(|name| text(name)).collect::<Vec<_>>().join(", ")) }
}

/// A dictionary with these keys. A key that is a word of Python needs the other form.
fn dictionary(out: &mut String, (name, what): (&str, &str), total: bool, keys: &[(String, String)]) {
    let partly = if total { "" } else { ", total=False" };
    if keys.iter().any(|(key, _)| KEYWORDS.contains(&key.as_str())) {
        let all: Vec<String> = keys.iter().map(|(key, of)| format!("    {}: {},\n", text(key), text(of))).collect();
        let _ = write!(out, "{name} = TypedDict({}, {{\n{}}}{partly})\n\n\n", text(name), all.concat());
        return;
    }
    let _ = write!(out, "class {name}(TypedDict{partly}):\n    \"\"\"{what}\"\"\"\n\n");
    for (key, of) in keys {
        let _ = writeln!(out, "    {key}: {of}");
    }
    out.push_str("\n\n");
}

fn value(kind: &Kind) -> String {
    match kind {
        Kind::Text | Kind::Ordered | Kind::Id | Kind::Refers(_) => "str".to_owned(),
        Kind::Number => "float".to_owned(),
        Kind::Bool => "bool".to_owned(),
        Kind::Json => "Any".to_owned(),
        Kind::Enum(of) => words(&of.iter().map(String::as_str).collect::<Vec<_>>()),
        Kind::List(of) => format!("list[{}]", value(of)),
    }
}

/// Whole numbers are `int`.
fn of_field(field: &Field) -> String {
    let whole = |ty: &haechi_model::FieldType| matches!(ty, haechi_model::FieldType::Int { .. });
    match &field.ty {
        ty if whole(ty) => "int".to_owned(),
        haechi_model::FieldType::List { of, .. } if whole(of) => "list[int]".to_owned(),
        ty => value(&Kind::of(ty)),
    }
}

fn nullable(field: &Field) -> String {
    let of = of_field(field);
    if field.required || of == "Any" { of } else { format!("{of} | None") }
}

fn types(app: &App, all: &[Shape<'_>]) -> String {
    let kinds: Vec<&str> = haechi_problem::kinds::kinds().into_iter().map(|(kind, _)| kind.slug).collect();
    let mut out = format!("ProblemKind = {}\n\n\n", words(&kinds));
    for shape in all {
        rows(&mut out, shape, all);
        bodies(&mut out, shape);
        filter(&mut out, shape, all);
        expansions(&mut out, shape, all);
    }
    operations(&mut out, app, all);
    out
}

fn rows(out: &mut String, shape: &Shape<'_>, all: &[Shape<'_>]) {
    let row = &shape.row;
    let names: Vec<&str> = shape.fields().map(|field| field.name.as_str()).collect();
    let masked: Vec<&str> = shape.fields().filter(|field| shape.may_be_masked(field)).map(|field| field.name.as_str()).collect();
    let _ = writeln!(out, "{row}Field = {}", words(&names));
    let _ = writeln!(out, "{row}Ordered = {}", words(&shape.ordered()));
    let _ = writeln!(out, "{row}Summed = {}\n\n", words(&shape.summed()));
    let mut expanded: Vec<(String, String)> = Vec::new();
    expanded.extend(shape.refers().into_iter().map(|(name, to)| (name.to_owned(), all[to].row.clone())));
    expanded.extend(shape.lists().into_iter().map(|(name, to)| (name.to_owned(), format!("list[{}]", all[to].row))));
    expanded.extend(shape.referring().into_iter().map(|(name, of)| (name, format!("{}Listed", all[of].row))));
    let beside = !expanded.is_empty();
    if beside {
        dictionary(out, (&format!("{row}Expanded"), "What is shown beside one; absent where you may not read it."), false, &expanded);
    }
    let mut keys: Vec<(String, String)> = Vec::new();
    for field in shape.fields() {
        let of = nullable(field);
        keys.push((field.name.clone(), if shape.may_be_masked(field) { format!("NotRequired[{of}]") } else { of }));
    }
    let mut own: Vec<(String, String)> = Vec::new();
    if !masked.is_empty() {
        own.push(("_masked".to_owned(), format!("NotRequired[list[{}]]", words(&masked))));
    }
    if beside {
        own.push(("_expanded".to_owned(), format!("NotRequired[{row}Expanded]")));
    }
    let whole: Vec<_> = keys.into_iter().chain(own.clone()).collect();
    dictionary(out, (row, &format!("A row of {}. What you may not read is absent, and named in `_masked`.", shape.name())), true, &whole);
    let part = shape.fields().map(|field| (field.name.clone(), if field.name == "id" { "Required[str]".to_owned() } else { nullable(field) }));
    let part: Vec<_> = part.chain(own).collect();
    dictionary(out, (&format!("{row}Part"), "Some fields of one."), false, &part);
    let listed = [("items".to_owned(), format!("list[{row}]")), ("more".to_owned(), "bool".to_owned())];
    dictionary(out, (&format!("{row}Listed"), "Those that refer to a row."), true, &listed);
}

fn bodies(out: &mut String, shape: &Shape<'_>) {
    let row = &shape.row;
    let create: Vec<_> = shape
        .written()
        .map(|(field, needed)| (field.name.clone(), if needed { nullable(field) } else { format!("NotRequired[{}]", nullable(field)) }))
        .collect();
    dictionary(out, (&format!("{row}Create"), "What creates one."), true, &create);
    let patch: Vec<_> = shape.written().map(|(field, _)| (field.name.clone(), nullable(field))).collect();
    dictionary(out, (&format!("{row}Patch"), "What changes one."), false, &patch);
    for action in &shape.collection.actions {
        let needed = |field: &Field| field.required && field.default.is_none();
        let of = |field: &Field| if needed(field) { nullable(field) } else { format!("NotRequired[{}]", nullable(field)) };
        let input: Vec<_> = action.input.declared().map(|(_, field)| (field.name.clone(), of(field))).collect();
        if !input.is_empty() {
            dictionary(out, (&format!("{row}{}", capital(&action.name)), &format!("What `{}` takes.", action.name)), true, &input);
        }
    }
}

fn filter(out: &mut String, shape: &Shape<'_>, all: &[Shape<'_>]) {
    let row = &shape.row;
    let mut keys: Vec<(String, String)> = vec![
        ("and_".to_owned(), format!("Sequence[{row}Where]")),
        ("or_".to_owned(), format!("Sequence[{row}Where]")),
        ("not_".to_owned(), format!("{row}Where")),
    ];
    let person = |to: usize| if to == haechi_model::USERS { " | Me" } else { "" };
    for field in shape.fields() {
        let kind = Kind::of(&field.ty);
        let of = of_field(field);
        let test = match &kind {
            Kind::Json => continue,
            Kind::Text => "str | Textual".to_owned(),
            Kind::Id | Kind::Bool => format!("{of} | Equal[{of}]"),
            Kind::Ordered | Kind::Number | Kind::Enum(_) => format!("{of} | Compared[{of}]"),
            Kind::Refers(to) => format!("str{} | {}Reference", person(*to), all[*to].row),
            Kind::List(inner) => {
                let me = if let Kind::Refers(to) = **inner { person(to) } else { "" };
                format!(
                    "Listing[{}{me}]",
                    of.trim_start_matches("list[").trim_end_matches(']').to_owned() + if matches!(**inner, Kind::Enum(_)) { "]" } else { "" }
                )
            }
        };
        keys.push((field.name.clone(), format!("{test} | None")));
    }
    dictionary(out, (&format!("{row}Where"), "What finds some of them."), false, &keys);
    let id = format!("str{}", person(shape.collection.id));
    let reference = [
        ("eq", format!("{id} | None")),
        ("ne", format!("{id} | None")),
        ("in_", format!("Sequence[{id}]")),
        ("not_in", format!("Sequence[{id}]")),
        ("where", format!("{row}Where")),
    ];
    let reference: Vec<_> = reference.into_iter().map(|(key, of)| (key.to_owned(), of)).collect();
    dictionary(out, (&format!("{row}Reference"), "A reference to one; `where` says what holds of it, as far as you may read it."), false, &reference);
}

fn expansions(out: &mut String, shape: &Shape<'_>, all: &[Shape<'_>]) {
    let row = &shape.row;
    let mut keys: Vec<(String, String)> = Vec::new();
    for (name, to) in shape.refers().into_iter().chain(shape.lists()) {
        keys.push((name.to_owned(), format!("Literal[True] | {}Inner", all[to].row)));
    }
    for (name, of) in shape.referring() {
        keys.push((name, format!("Literal[True] | {}Inners", all[of].row)));
    }
    dictionary(out, (&format!("{row}Expand"), "Which rows are shown beside one."), false, &keys);
    let inner = [("fields".to_owned(), format!("Sequence[{row}Field]")), ("expand".to_owned(), format!("{row}Expand"))];
    dictionary(out, (&format!("{row}Inner"), "What of it is shown beside another."), false, &inner);
    let inners: Vec<_> = inner.iter().cloned().chain([("first".to_owned(), "int".to_owned())]).collect();
    dictionary(out, (&format!("{row}Inners"), "What of them is shown beside a row that they refer to: the first 20, or `first`."), false, &inners);
}

fn key(shape: &Shape<'_>) -> String {
    let of = |key: Vec<&str>| format!("tuple[{}]", key.iter().map(|name| format!("Literal[{}]", text(name))).collect::<Vec<_>>().join(", "));
    let keys: Vec<String> = shape.keys().into_iter().map(of).collect();
    if keys.is_empty() { "Never".to_owned() } else { keys.join(" | ") }
}

/// What a batch may hold.
fn operations(out: &mut String, app: &App, all: &[Shape<'_>]) {
    let mut names = Vec::new();
    for shape in all {
        let (row, of) = (&shape.row, format!("Literal[{}]", text(&app.collections[shape.collection.id].name)));
        let mut add = |what: &str, keys: &[(&str, String)]| {
            let name = format!("_{row}{}", capital(what));
            let keys: Vec<_> =
                [(what.to_owned(), of.clone())].into_iter().chain(keys.iter().map(|(key, of)| ((*key).to_owned(), of.clone()))).collect();
            dictionary(out, (&name, "An operation of a batch."), true, &keys);
            names.push(name);
        };
        let (create, patch, find) = (format!("{row}Create"), format!("{row}Patch"), format!("{row}Where | str"));
        if shape.creates() {
            // `as` is a word of Python.
            add("create", &[("as", "NotRequired[str]".to_owned()), ("data", create.clone())]);
            if !shape.keys().is_empty() {
                add("upsert", &[("on", key(shape)), ("as", "NotRequired[str]".to_owned()), ("data", create)]);
            }
        }
        add("update", &[("id", "str".to_owned()), ("data", patch.clone()), ("if_match", "NotRequired[int]".to_owned())]);
        add("delete", &[("id", "str".to_owned()), ("if_match", "NotRequired[int]".to_owned())]);
        add("change", &[("where", find.clone()), ("data", patch)]);
        add("remove", &[("where", find)]);
    }
    let _ = writeln!(out, "Operation = {}", names.join(" | "));
}

fn client(all: &[Shape<'_>], parallel: bool) -> String {
    let (before, def, wait) = if parallel { ("Async", "async def", "await ") } else { ("", "def", "") };
    let mut out = String::new();
    for shape in all {
        let row = &shape.row;
        let parts = ["", "Part", "Create", "Patch", "Where", "Field", "Ordered", "Summed", "Expand"].map(|part| format!("{row}{part}"));
        let _ = writeln!(out, "class {before}{row}Collection({before}Collection[{}, {}]):", parts.join(", "), key(shape));
        if shape.collection.actions.is_empty() {
            let _ = write!(out, "    \"\"\"The rows of {}.\"\"\"\n\n\n", shape.name());
            continue;
        }
        for action in &shape.collection.actions {
            let inputs = action.input.declared().next().is_some();
            let (given, body) = if inputs { (format!("input: {row}{}, ", capital(&action.name)), "input") } else { (String::new(), "None") };
            let _ = write!(
                out,
                "    {def} {}(self, id: str, {given}*, version: int | None = None, idempotency_key: str | None = None) -> {row} | Unseen:\n        return {wait}self._act(id, {}, {body}, version, idempotency_key)\n\n",
                free(&free(&action.name, OF_COLLECTION), &KEYWORDS),
                text(&action.name)
            );
        }
        out.push('\n');
    }
    let _ = write!(out, "class {before}Haechi({before}ClientBase):\n    \"\"\"The client{}.\"\"\"\n\n", if parallel { " for asyncio" } else { "" });
    let transport = if parallel { "httpx.AsyncBaseTransport" } else { "httpx.BaseTransport" };
    let _ = write!(
        out,
        "    def __init__(\n        self,\n        url: str,\n        *,\n        token: str | None = None,\n        timeout: float = 30.0,\n        silence: float = 50.0,\n        retries: int = 4,\n        language: str | None = None,\n        transport: {transport} | None = None,\n        on_signed_out: Callable[[HaechiError], None] | None = None,\n    ) -> None:\n        super().__init__(\n            url,\n            token=token,\n            timeout=timeout,\n            silence=silence,\n            retries=retries,\n            language=language,\n            transport=transport,\n            on_signed_out=on_signed_out,\n        )\n"
    );
    for shape in all {
        let name = free(&free(shape.name(), OF_CLIENT), &KEYWORDS);
        let _ = writeln!(out, "        self.{name} = {before}{}Collection(self, {})", shape.row, text(shape.name()));
    }
    out
}
