//! Changes of records that are looked for first: by a unique key, and by a filter.

use haechi_testkit::{Backend, Person, TestApp, on_both};
use serde_json::{Value, json};

on_both!(
    a_key_finds_the_record_or_makes_it,
    a_key_of_a_hidden_record_is_taken,
    fifty_by_one_key_make_one_record,
    what_a_filter_finds_is_changed_whole,
    rows_leave_the_filter_meanwhile,
    what_a_filter_finds_is_removed,
    a_batch_looks_for_keys,
    a_batch_has_filters,
    other_doors_have_keys,
    other_doors_have_filters,
    what_was_done_is_not_done_again,
    changes_that_are_in_their_own_way_end
);

const FILES: &[(&str, &str)] = &[
    ("haechi.toml", "roles = [\"member\", \"guest\"]\n[limits]\ncaller_per_minute = 10000000\n"),
    (
        "collections/items.toml",
        "[fields]\ncode = { type = \"text\", unique = true, case = \"fold\" }\nshelf = { type = \"text\" }\nplace = { type = \"int\" }\n\
         state = { type = \"enum\", values = [\"new\", \"sold\"], default = \"new\", transitions = { new = [\"sold\"] } }\n\
         note = { type = \"text\", required = true, default = \"-\" }\nhidden = { type = \"bool\", required = true, default = false }\n\
         up = { type = \"ref\", to = \"items\", on_delete = \"cascade\" }\npin = { type = \"text\", class = \"secret\", unique = true }\n\
         [[indexes]]\nfields = [\"shelf\", \"place\"]\nunique = true\n",
    ),
    (
        "policies/main.cedar",
        r#"
permit (principal in Role::"member", action in [Action::"list", Action::"read", Action::"create", Action::"update", Action::"delete", Action::"watch"], resource);
permit (principal in Role::"guest", action in [Action::"list", Action::"read", Action::"create"], resource is items) unless { resource.hidden };
permit (principal in Role::"guest", action in [Action::"update", Action::"delete"], resource is items) when { resource.note == "guests" };
"#,
    ),
];

async fn start(backend: Backend) -> (TestApp, Person, Person) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, guest) = (app.person("kim", &["member"]).await, app.person("guest", &["guest"]).await);
    (app, kim, guest)
}

async fn upsert(person: &Person, on: Value, data: Value) -> haechi_testkit::Reply {
    person.post("/api/v1/items:upsert", json!({ "on": on, "data": data })).await
}

async fn total(person: &Person) -> u64 {
    person.get("/api/v1/items?count=true").await.expect(200).json()["total_size"].as_u64().unwrap()
}

async fn a_key_finds_the_record_or_makes_it(backend: Backend) {
    let (app, kim, _) = start(backend).await;
    let made = upsert(&kim, json!(["code"]), json!({ "code": "A-1", "note": "first" })).await.expect(201);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert!(made.header("location").ends_with(&format!("/api/v1/items/{id}")));
    // The key ignores case where the field does; what the body leaves out stays, and the key stays as it was written.
    let changed = upsert(&kim, json!(["code"]), json!({ "code": "a-1", "place": 5 })).await.expect(200).json();
    assert_eq!(
        (&changed["id"], &changed["code"], &changed["note"], &changed["place"], &changed["version"]),
        (&json!(id), &json!("A-1"), &json!("first"), &json!(5), &json!(2))
    );
    let null = upsert(&kim, json!(["code"]), json!({ "code": "a-1", "place": null, "state": "sold" })).await.expect(200).json();
    assert_eq!((&null["place"], &null["state"]), (&Value::Null, &json!("sold")));
    // The rules of a change hold.
    assert_eq!(upsert(&kim, json!(["code"]), json!({ "code": "a-1", "state": "new" })).await.expect(409).problem(), "not-a-transition");
    // A key of two fields, in any order; all of them must be there.
    upsert(&kim, json!(["place", "shelf"]), json!({ "shelf": "s", "place": 1, "code": "B" })).await.expect(201);
    upsert(&kim, json!(["shelf", "place"]), json!({ "shelf": "s", "place": 1, "note": "again" })).await.expect(200);
    assert_eq!(total(&kim).await, 2);
    for (on, data) in [
        (json!(["shelf"]), json!({ "shelf": "s" })),
        (json!(["note"]), json!({ "note": "s" })),
        (json!(["nothing"]), json!({})),
        (json!([]), json!({})),
        (json!(["code", "shelf"]), json!({ "code": "x", "shelf": "y" })),
        (json!(["code"]), json!({ "note": "x" })),
        (json!(["code"]), json!({ "code": null })),
        (json!(["code"]), json!({ "code": "x", "unknown": 1 })),
        (json!([5]), json!({ "code": "x" })),
    ] {
        upsert(&kim, on.clone(), data.clone()).await.expect(422);
    }
    for body in
        [json!({}), json!({ "on": "code", "data": {} }), json!({ "on": ["code"] }), json!({ "on": ["code"], "data": {}, "more": 1 }), json!([])]
    {
        kim.post("/api/v1/items:upsert", body).await.expect(400);
    }
    // The same request again is the first one's reply.
    let body = serde_json::to_vec(&json!({ "on": ["code"], "data": { "code": "C" } })).unwrap();
    let headers = [("content-type", "application/json"), ("idempotency-key", "k1")];
    let first = kim.send("POST", "/api/v1/items:upsert", &headers, body.clone()).await.expect(201).json();
    let again = kim.send("POST", "/api/v1/items:upsert", &headers, body).await.expect(201);
    assert_eq!((again.header("idempotency-replayed"), &again.json()["id"]), ("true", &first["id"]));
    assert_eq!(total(&kim).await, 3);
    app.anonymous().post("/api/v1/items:upsert", json!({})).await.expect(401);
    app.finish().await;
}

/// ABUSE-65 [V8.2.3]: a key that a record has which the caller may not read is taken, and nothing of the record is told or changed.
async fn a_key_of_a_hidden_record_is_taken(backend: Backend) {
    let (app, kim, guest) = start(backend).await;
    let hidden = kim.create("items", json!({ "code": "H", "hidden": true, "note": "guests" })).await;
    assert_eq!(upsert(&guest, json!(["code"]), json!({ "code": "h", "place": 9 })).await.expect(409).problem(), "not-unique");
    assert_eq!(kim.get(&format!("/api/v1/items/{hidden}")).await.expect(200).json()["place"], Value::Null);
    // They may read it and not change it; and they may change another.
    kim.create("items", json!({ "code": "R" })).await;
    upsert(&guest, json!(["code"]), json!({ "code": "R", "place": 1 })).await.expect(403);
    kim.create("items", json!({ "code": "G", "note": "guests" })).await;
    upsert(&guest, json!(["code"]), json!({ "code": "G", "place": 2 })).await.expect(200);
    upsert(&guest, json!(["code"]), json!({ "code": "N" })).await.expect(201);
    // A key that they may not read finds nothing out.
    upsert(&guest, json!(["pin"]), json!({ "pin": "1" })).await.expect(403);
    let nobody = app.person("nobody", &[]).await;
    upsert(&nobody, json!(["code"]), json!({ "code": "G" })).await.expect(403);
    app.finish().await;
}

/// Of fifty at once one makes the record, and all others change it; also while it is deleted again and again.
async fn fifty_by_one_key_make_one_record(backend: Backend) {
    let (app, kim, _) = start(backend).await;
    let replies =
        futures_util::future::join_all((0..50).map(|at| upsert(&kim, json!(["code"]), json!({ "code": "one", "note": format!("n{at}") })))).await;
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(
        (made, replies.iter().filter(|reply| reply.status == 200).count()),
        (1, 49),
        "{:?}",
        replies.iter().map(|reply| reply.status).collect::<Vec<_>>()
    );
    let found = kim.get("/api/v1/items").await.expect(200).json();
    assert_eq!((found["items"].as_array().map(Vec::len), &found["items"][0]["version"]), (Some(1), &json!(50)));
    let races = (0..30).map(|at| {
        let kim = &kim;
        async move {
            if at % 3 == 0 {
                let found = kim.get("/api/v1/items?code=one").await.expect(200).json();
                if let Some(id) = found["items"][0]["id"].as_str() {
                    kim.delete(&format!("/api/v1/items/{id}")).await;
                }
                return 204;
            }
            upsert(kim, json!(["code"]), json!({ "code": "one", "note": "raced" })).await.status
        }
    });
    let statuses = futures_util::future::join_all(races).await;
    assert!(statuses.iter().all(|status| [200, 201, 204].contains(status)), "{statuses:?}");
    app.finish().await;
}

async fn many(person: &Person, verb: &str, body: Value) -> haechi_testkit::Reply {
    person.post(&format!("/api/v1/items:{verb}"), body).await
}

/// All records of a filter, each with its own decision and entry; one that may not be changed refuses all and is named.
async fn what_a_filter_finds_is_changed_whole(backend: Backend) {
    let (app, kim, guest) = start(backend).await;
    let mut ids = Vec::new();
    for at in 0..5 {
        ids.push(kim.create("items", json!({ "code": format!("c{at}"), "place": at, "note": if at == 3 { "kept" } else { "guests" } })).await);
    }
    app.house.gate.settle().await;
    let mut events = kim.watch("/api/v1/items:watch", None).await.unwrap_or_else(|reply| panic!("{}", reply.text()));
    events.next().await;
    let done = many(&kim, "change", json!({ "filter": "place >= 3", "data": { "shelf": "top" } })).await.expect(200).json();
    assert_eq!((&done["count"], &done["ids"]), (&json!(2), &json!([ids[3], ids[4]])));
    assert_eq!([events.next().await.unwrap().0, events.next().await.unwrap().0], ["update", "update"]);
    let refused = many(&guest, "change", json!({ "filter": "place >= 2", "data": { "shelf": "low" } })).await.expect(403).json();
    assert!(refused["errors"].to_string().contains(&ids[3]), "{refused}");
    assert_eq!(kim.get("/api/v1/items?filter=shelf%3Dlow&count=true").await.expect(200).json()["total_size"], 0, "nothing was done");
    many(&guest, "change", json!({ "filter": "place IN (1, 2)", "data": { "place": null } })).await.expect(200);
    // What each becomes may not clash, and the rules of a change hold.
    let clash = many(&kim, "change", json!({ "filter": "code:*", "data": { "shelf": "s", "place": 1 } })).await.expect(409).json();
    assert!(clash["errors"].to_string().contains("the record"), "{clash}");
    kim.patch(&format!("/api/v1/items/{}", ids[0]), json!({ "state": "sold" })).await.expect(200);
    let stuck = many(&kim, "change", json!({ "filter": "code:*", "data": { "state": "new" } })).await.expect(409).json();
    assert!(stuck["errors"].to_string().contains(&ids[0]), "{stuck}");
    assert_eq!(
        many(&kim, "change", json!({ "filter": "place = 77", "data": { "shelf": "x" } })).await.expect(200).json(),
        json!({ "count": 0, "ids": [] })
    );
    // A change of one of them is no reason to leave out another.
    let below = kim.create("items", json!({ "up": ids[3], "code": "below" })).await;
    let lower = kim.create("items", json!({ "up": below, "code": "lower" })).await;
    let done =
        many(&kim, "change", json!({ "filter": format!("up.note != gone AND (up = {} OR up = {below})", ids[3]), "data": { "note": "gone" } }))
            .await
            .expect(200)
            .json();
    assert_eq!(done["ids"], json!([below, lower]));
    for body in [
        json!({}),
        json!({ "filter": "", "data": {} }),
        json!({ "filter": "place = 1" }),
        json!({ "filter": "nothing = 1", "data": {} }),
        json!({ "filter": "place = 1", "data": {}, "x": 1 }),
    ] {
        many(&kim, "change", body).await.expect(400);
    }
    many(&kim, "change", json!({ "filter": "place = 3", "data": { "nothing": 1 } })).await.expect(422);
    many(&guest, "change", json!({ "filter": "pin = x", "data": { "shelf": "y" } })).await.expect(403);
    app.anonymous().post("/api/v1/items:change", json!({})).await.expect(401);
    // The same request again is the first one's reply.
    let body = serde_json::to_vec(&json!({ "filter": "place = 3", "data": { "place": 33 } })).unwrap();
    let headers = [("content-type", "application/json"), ("idempotency-key", "k2")];
    let first = kim.send("POST", "/api/v1/items:change", &headers, body.clone()).await.expect(200);
    let again = kim.send("POST", "/api/v1/items:change", &headers, body).await.expect(200);
    assert_eq!((first.json(), first.json()["count"].clone()), (json!({ "count": 1, "ids": [ids[3]] }), json!(1)));
    assert_eq!((again.header("idempotency-replayed"), again.json()), ("true", first.json()));
    // More than one change may have: the number is told, and nothing is done.
    let file = app.root.join("many.ndjson");
    std::fs::write(&file, (0..1_001).map(|at| json!({ "note": "many", "code": format!("m{at}") }).to_string()).collect::<Vec<_>>().join("\n"))
        .unwrap();
    let items = app.house.gate.revision().app.collection("items").unwrap().clone();
    haechi::app::rows::import_file(&app.house, &items, &file, haechi_data::transfer::Options::default()).await.unwrap();
    let refused = many(&kim, "change", json!({ "filter": "note = many", "data": { "shelf": "z" } })).await.expect(400).json();
    assert!(refused["detail"].as_str().unwrap().contains("1001"), "{refused}");
    let done = many(&kim, "change", json!({ "filter": "note = many AND code != m0", "data": { "shelf": "z" } })).await.expect(200).json();
    assert_eq!(done["count"], 1_000);
    app.finish().await;
}

/// A record that leaves the filter between the look and the lock is not changed.
async fn rows_leave_the_filter_meanwhile(backend: Backend) {
    let (app, kim, _) = start(backend).await;
    for round in 0..10 {
        let mut ids = Vec::new();
        for at in 0..4 {
            ids.push(kim.create("items", json!({ "code": format!("r{round}-{at}"), "note": "in" })).await);
        }
        let path = format!("/api/v1/items/{}", ids[2]);
        let (changed, left, removed) = tokio::join!(
            many(&kim, "change", json!({ "filter": "note = in", "data": { "note": "changed" } })),
            kim.patch(&path, json!({ "note": "left" })),
            many(&kim, "remove", json!({ "filter": "note = left" }))
        );
        assert!(
            [200, 503].contains(&changed.status) && [200, 404].contains(&left.status) && removed.status == 200,
            "{} {} {}",
            changed.text(),
            left.text(),
            removed.text()
        );
        // Who left is in no state that only a changed row has; who is changed was in the filter.
        let rest = kim.get("/api/v1/items?page_size=100&filter=note%3Din").await.expect(200).json();
        assert_eq!(rest["items"].as_array().map(Vec::len), Some(0), "{rest}");
        many(&kim, "remove", json!({ "filter": "note IN (changed, left)" })).await.expect(200);
    }
    app.finish().await;
}

async fn what_a_filter_finds_is_removed(backend: Backend) {
    let (app, kim, guest) = start(backend).await;
    let top = kim.create("items", json!({ "code": "top", "note": "guests" })).await;
    let below = kim.create("items", json!({ "code": "below", "up": top, "note": "guests" })).await;
    let other = kim.create("items", json!({ "code": "other" })).await;
    let refused = many(&guest, "remove", json!({ "filter": "code:*" })).await.expect(403).json();
    assert!(refused["errors"].to_string().contains(&other), "{refused}");
    // What one of them takes with it is no reason to leave out another.
    kim.patch(&format!("/api/v1/items/{top}"), json!({ "up": null })).await.expect(200);
    let done = many(&guest, "remove", json!({ "filter": "note = guests" })).await.expect(200).json();
    assert_eq!((done["ids"].clone(), total(&kim).await), (json!([top, below]), 1));
    app.verify().await;
    many(&kim, "remove", json!({ "filter": "code = other", "data": {} })).await.expect(400);
    many(&kim, "remove", json!({})).await.expect(400);
    many(&kim, "remove", json!({ "filter": "code = other" })).await.expect(200);
    assert_eq!(total(&kim).await, 0);
    app.finish().await;
}

/// In a batch, a key is looked up like alone: all or nothing, raced by fifty, and later operations may name the record.
async fn a_batch_looks_for_keys(backend: Backend) {
    let (app, kim, guest) = start(backend).await;
    let batch = |operations: Value| json!({ "operations": operations });
    let operations = json!([
        { "upsert": "items", "as": "a", "on": ["code"], "data": { "code": "A", "note": "one" } },
        { "create": "items", "as": "b", "data": { "code": "B", "up": "$a.id" } },
        { "upsert": "items", "on": ["shelf", "place"], "data": { "shelf": "s", "place": 1, "up": "$b.id" } },
    ]);
    let made = kim.post("/api/v1:batch", batch(operations)).await.expect(200).json();
    let id = |at: usize| made["results"][at]["id"].clone();
    assert_eq!((&made["results"][1]["up"], &made["results"][2]["up"]), (&id(0), &id(1)));
    let again = kim
        .post("/api/v1:batch", batch(json!([{ "upsert": "items", "on": ["code"], "data": { "code": "a", "note": "two" } }])))
        .await
        .expect(200)
        .json();
    assert_eq!((&again["results"][0]["id"], &again["results"][0]["note"], &again["results"][0]["version"]), (&id(0), &json!("two"), &json!(2)));
    let refused = kim.post(
        "/api/v1:batch",
        batch(json!([
            { "upsert": "items", "on": ["code"], "data": { "code": "Z" } },
            { "upsert": "items", "on": ["note"], "data": { "note": "Z" } },
        ])),
    );
    let refused = refused.await.expect(422).json();
    assert_eq!((&refused["errors"][0]["pointer"], &refused["errors"][0]["code"]), (&json!("/operations/1/on"), &json!("not_a_key")), "{refused}");
    assert_eq!(total(&kim).await, 3, "all or nothing");
    for wrong in [
        json!([{ "upsert": "items", "data": { "code": "Z" } }]),
        json!([{ "create": "items", "on": ["code"], "data": { "code": "Z" } }]),
        json!([{ "upsert": "items", "on": ["code"], "id": "x", "data": {} }]),
        json!([{ "upsert": "items", "on": ["code"] }]),
    ] {
        kim.post("/api/v1:batch", batch(wrong)).await.expect(422);
    }
    kim.create("items", json!({ "code": "H", "hidden": true })).await;
    let taken = guest.post("/api/v1:batch", batch(json!([{ "upsert": "items", "on": ["code"], "data": { "code": "h" } }]))).await.expect(409);
    assert_eq!(taken.problem(), "not-unique");
    let replies = futures_util::future::join_all((0..50).map(|at| {
        kim.post(
            "/api/v1:batch",
            batch(json!([
                { "create": "items", "data": { "note": format!("beside {at}") } },
                { "upsert": "items", "on": ["code"], "data": { "code": "raced", "note": format!("{at}") } },
            ])),
        )
    }));
    let replies = replies.await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{:?}", replies.iter().map(|reply| reply.status).collect::<Vec<_>>());
    let raced = kim.get("/api/v1/items?code=raced").await.expect(200).json();
    assert_eq!((raced["items"].as_array().map(Vec::len), &raced["items"][0]["version"]), (Some(1), &json!(50)));
    assert_eq!(total(&kim).await, 4 + 50 + 1);
    app.finish().await;
}

/// Filters find what is there before the batch; all happens or nothing.
async fn a_batch_has_filters(backend: Backend) {
    let (app, kim, guest) = start(backend).await;
    let batch = async |person: &Person, operations: Value| person.post("/api/v1:batch", json!({ "operations": operations })).await;
    for at in 0..6 {
        kim.create("items", json!({ "code": format!("c{at}"), "place": at, "note": if at < 2 { "guests" } else { "-" } })).await;
    }
    let all = json!([
        { "create": "items", "as": "top", "data": { "code": "top", "place": 9 } },
        { "change": "items", "filter": "place < 3 OR place = 9", "data": { "up": "$top.id", "shelf": "moved" } },
        { "remove": "items", "filter": "place >= 4" },
        { "change": "items", "filter": "code = nothing", "data": { "shelf": "x" } },
        { "update": "items", "id": "$top.id", "data": { "note": "last" } },
    ]);
    let key = [("idempotency-key", "b-1")];
    let body = serde_json::to_vec(&json!({ "operations": all })).unwrap();
    let send = async || kim.send("POST", "/api/v1:batch", &[key[0], ("content-type", "application/json")], body.clone()).await.expect(200);
    let done = send().await.json();
    let results = &done["results"];
    assert_eq!((&results[1]["count"], &results[2]["count"], &results[3]), (&json!(3), &json!(2), &json!({ "count": 0, "ids": [] })), "{done}");
    assert_eq!((&results[4]["note"], results[4]["id"] == results[0]["id"]), (&json!("last"), true));
    let moved = kim.get("/api/v1/items?shelf=moved&order_by=place").await.expect(200).json();
    let moved: Vec<&Value> =
        moved["items"].as_array().unwrap().iter().inspect(|item| assert_eq!(item["up"], results[0]["id"])).map(|item| &item["code"]).collect();
    assert_eq!(moved, ["c0", "c1", "c2"], "what the batch itself creates is not found");
    assert_eq!(total(&kim).await, 5);
    // Again with the same key: nothing is done, and the same is told.
    let again = send().await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    let ids = |value: &Value, at: usize| value["results"][at]["ids"].clone();
    assert_eq!((ids(&again.json(), 1), ids(&again.json(), 2), total(&kim).await), (ids(&done, 1), ids(&done, 2), 5));
    // Each row stands in the ledger.
    let entries = app.ledger().await;
    let of = |action: &str| entries.iter().filter(|entry| entry["action"] == action && entry["actor"] == kim.id.as_str()).count();
    assert_eq!((of("update"), of("delete")), (4, 2));
    // One that may not be changed refuses all of it, and is named.
    let mine = kim.get("/api/v1/items?note=guests&order_by=place").await.expect(200).json();
    let refused = batch(
        &guest,
        json!([{ "create": "items", "data": { "code": "g" } }, { "change": "items", "filter": "place < 3", "data": { "shelf": "x" } }]),
    )
    .await;
    let problem = refused.expect(403).json();
    let place = &problem["errors"][1];
    assert_eq!((&problem["errors"][0]["pointer"], &place["pointer"]), (&json!("/operations/1/data"), &json!("/operations/1/filter")), "{problem}");
    assert!(mine["items"].as_array().unwrap().iter().all(|item| !place["detail"].as_str().unwrap().contains(item["id"].as_str().unwrap())));
    assert_eq!(total(&kim).await, 5);
    batch(&guest, json!([{ "change": "items", "filter": "place < 2", "data": { "shelf": "x" } }])).await.expect(200);
    // A rule that one row breaks is told with that row.
    batch(&kim, json!([{ "change": "items", "filter": "place = 2", "data": { "state": "sold" } }])).await.expect(200);
    let problem = batch(&kim, json!([{ "change": "items", "filter": "place < 9", "data": { "state": "new" } }])).await.expect(409).json();
    let pointers: Vec<&Value> = problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["/operations/0/data/state", "/operations/0/filter"], "{problem}");
    // What an earlier operation takes away is in its way.
    let problem =
        batch(&kim, json!([{ "remove": "items", "filter": "place = 3" }, { "change": "items", "filter": "place >= 2", "data": { "note": "y" } }]))
            .await;
    let problem = problem.expect(422).json();
    assert_eq!((&problem["errors"][0]["pointer"], &problem["errors"][0]["code"]), (&json!("/operations/1"), &json!("clash")), "{problem}");
    // What changed by one filter may be changed by the next.
    let twice = json!([{ "change": "items", "filter": "place = 3", "data": { "note": "one" } }, { "change": "items", "filter": "place = 3", "data": { "shelf": "two" } }]);
    batch(&kim, twice).await.expect(200);
    let found = kim.get("/api/v1/items?place=3").await.expect(200).json();
    assert_eq!((&found["items"][0]["note"], &found["items"][0]["shelf"]), (&json!("one"), &json!("two")));
    for (wrong, pointer) in [
        (json!([{ "change": "items", "filter": "place <", "data": {} }]), "/operations/0/filter"),
        (json!([{ "change": "items", "data": {} }]), "/operations/0"),
        (json!([{ "change": "items", "filter": " ", "data": {} }]), "/operations/0/filter"),
        (json!([{ "remove": "items", "filter": "place = 1", "data": {} }]), "/operations/0"),
        (json!([{ "remove": "items", "filter": "place = 1", "id": "x" }]), "/operations/0"),
        (json!([{ "create": "items", "filter": "place = 1", "data": {} }]), "/operations/0"),
        (json!([{ "change": "items", "filter": "place = 1", "data": { "place": "x" } }]), "/operations/0/data/place"),
    ] {
        let problem = batch(&kim, wrong.clone()).await.expect(422).json();
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{wrong}: {problem}");
    }
    // All filters together find at most a thousand.
    let file = app.root.join("many.ndjson");
    std::fs::write(
        &file,
        (0..600)
            .map(|at| json!({ "code": format!("m{at}"), "shelf": format!("f{at}"), "place": 100 + at }).to_string())
            .collect::<Vec<_>>()
            .join("\n"),
    )
    .unwrap();
    let items = app.house.gate.revision().app.collection("items").unwrap().clone();
    haechi::app::rows::import_file(&app.house, &items, &file, haechi_data::transfer::Options::default()).await.unwrap();
    let many = json!([{ "change": "items", "filter": "place >= 100", "data": { "note": "a" } }, { "change": "items", "filter": "place >= 100", "data": { "note": "b" } }]);
    let problem = batch(&kim, many).await.expect(400).json();
    assert!(problem["detail"].as_str().unwrap().contains("1200 records"), "{problem}");
    // Rows leave and enter the filter while fifty batches run: each row is in one state as a whole.
    let replies = futures_util::future::join_all((0..50).map(|at| {
        let (from, to) = if at % 2 == 0 { ("-", "left") } else { ("left", "-") };
        let operations =
            json!([{ "change": "items", "filter": format!("place >= 100 AND place < 110 AND note = '{from}'"), "data": { "note": to } }]);
        kim.post("/api/v1:batch", json!({ "operations": operations }))
    }));
    for reply in replies.await {
        assert!([200, 503].contains(&reply.status), "{} {}", reply.status, reply.text());
        if reply.status == 200 {
            assert!([0, 10].contains(&reply.json()["results"][0]["count"].as_u64().unwrap()), "{}", reply.text());
        }
    }
    app.finish().await;
}

/// GraphQL and gRPC say the same by their own words.
async fn other_doors_have_keys(backend: Backend) {
    let (app, kim, guest) = start(backend).await;
    let graphql = async |person: &Person, on: Value, input: Value| {
        let query = "mutation($on: [ItemKeyField!]!, $input: ItemCreateInput!) { upsert_item(on: $on, input: $input) { id item { code place version } errors { pointer code } } }";
        person.post("/graphql", json!({ "query": query, "variables": { "on": on, "input": input } })).await.expect(200).json()
    };
    let made = graphql(&kim, json!(["code"]), json!({ "code": "A", "place": 1 })).await;
    assert_eq!(made["data"]["upsert_item"]["item"], json!({ "code": "A", "place": 1, "version": 1 }), "{made}");
    let changed = graphql(&kim, json!(["code"]), json!({ "code": "a", "place": 2 })).await;
    assert_eq!(
        (&changed["data"]["upsert_item"]["id"], &changed["data"]["upsert_item"]["item"]["place"]),
        (&made["data"]["upsert_item"]["id"], &json!(2))
    );
    let wrong = graphql(&kim, json!(["place"]), json!({ "place": 2 })).await;
    assert_eq!(wrong["data"]["upsert_item"]["errors"], json!([{ "pointer": "/on", "code": "not_a_key" }]), "{wrong}");
    kim.create("items", json!({ "code": "H", "hidden": true })).await;
    let taken = graphql(&guest, json!(["code"]), json!({ "code": "H" })).await;
    assert_eq!(taken["data"]["upsert_item"]["errors"][0]["code"], "not_unique", "{taken}");
    let client = crate::grpc::Client::new(&app);
    let changed = client.call(&kim, "UpsertItem", json!({ "item": { "code": "A", "place": 3 }, "on": ["code"] })).await.unwrap();
    assert_eq!((&changed["id"], &changed["place"]), (&made["data"]["upsert_item"]["id"], &json!(3)), "{changed}");
    let new = client.call(&kim, "UpsertItem", json!({ "item": { "code": "G" }, "on": ["code"] })).await.unwrap();
    assert_eq!(new["version"], 1, "{new}");
    let refused = client.call(&guest, "UpsertItem", json!({ "item": { "code": "H" }, "on": ["code"] })).await;
    assert!(format!("{refused:?}").contains("not_unique"), "{refused:?}");
    app.finish().await;
}

/// What REST does by filter, GraphQL and gRPC do.
async fn other_doors_have_filters(backend: Backend) {
    let (app, kim, guest) = start(backend).await;
    let mut ids = Vec::new();
    for code in ["A", "B", "C"] {
        ids.push(kim.create("items", json!({ "code": code, "note": if code == "C" { "theirs" } else { "guests" } })).await);
    }
    let graphql = async |person: &Person, query: &str, variables: Value| {
        person.post("/graphql", json!({ "query": query, "variables": variables })).await.expect(200).json()
    };
    let change = "mutation($filter: ItemFilter!, $input: ItemUpdateInput!) { change_items(filter: $filter, input: $input) { count ids errors { pointer code } __typename } }";
    let changed = graphql(&guest, change, json!({ "filter": { "note": { "eq": "guests" } }, "input": { "place": 4 } })).await;
    let expected = json!({ "count": 2, "ids": [ids[0], ids[1]], "errors": [], "__typename": "ItemManyPayload" });
    assert_eq!(changed["data"]["change_items"], expected, "{changed}");
    // One that may not be changed refuses the whole.
    let refused = graphql(&guest, change, json!({ "filter": { "code": { "is_null": false } }, "input": { "place": 5 } })).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "forbidden", "{refused}");
    assert!(refused.to_string().contains(&ids[2]), "{refused}");
    let wrong = graphql(&kim, change, json!({ "filter": { "code": { "eq": "A" } }, "input": { "note": null } })).await;
    assert_eq!(wrong["data"]["change_items"]["errors"][0]["pointer"], "/note", "{wrong}");
    for empty in [json!({}), json!({ "and": [] }), json!({ "up_where": {} }), json!({ "note": null }), json!({ "not": { "or": [] } })] {
        let refused = graphql(&kim, change, json!({ "filter": empty, "input": { "place": 9 } })).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "malformed-request", "{refused}");
    }
    let client = crate::grpc::Client::new(&app);
    let changed = client.call(&kim, "ChangeItems", json!({ "filter": "place = 4", "item": { "note": "again" } })).await.unwrap();
    assert_eq!((&changed["count"], &changed["ids"]), (&json!(2), &json!([ids[0], ids[1]])));
    let cleared = json!({ "filter": "place = 4", "item": {}, "update_mask": "place" });
    assert_eq!(client.call(&kim, "ChangeItems", cleared).await.unwrap()["count"], 2);
    assert_eq!(kim.get("/api/v1/items?place=4&count=true").await.expect(200).json()["total_size"], 0);
    for filter in ["", " ", "nothing = 1"] {
        assert!(client.call(&kim, "ChangeItems", json!({ "filter": filter, "item": { "place": 1 } })).await.is_err());
        assert!(client.call(&kim, "RemoveItems", json!({ "filter": filter })).await.is_err());
    }
    let refused = client.call(&guest, "RemoveItems", json!({ "filter": "code:*" })).await;
    assert!(format!("{refused:?}").contains("forbidden"), "{refused:?}");
    assert_eq!(total(&kim).await, 3);
    assert_eq!(client.call(&kim, "RemoveItems", json!({ "filter": "code IN (a)" })).await.unwrap()["ids"], json!([ids[0]]));
    let removed = graphql(
        &kim,
        "mutation { remove_items(filter: { note: { ne: \"-\" } }) { count errors { code } ... on ItemManyPayload { ids } } }",
        json!({}),
    )
    .await;
    assert_eq!(removed["data"]["remove_items"], json!({ "count": 2, "errors": [], "ids": [ids[1], ids[2]] }), "{removed}");
    // Each change has the payload that the schema says.
    let more = kim.create("items", json!({ "code": "D" })).await;
    let deleted = graphql(&kim, "mutation($id: ID!) { delete_item(id: $id) { __typename id } }", json!({ "id": more })).await;
    assert_eq!(deleted["data"]["delete_item"], json!({ "__typename": "ItemDeletePayload", "id": more }));
    assert_eq!(total(&kim).await, 0);
    app.finish().await;
}

/// A repeated request is answered by what it did, also when what it looked for is there or gone because of it.
async fn what_was_done_is_not_done_again(backend: Backend) {
    let (app, kim, guest) = start(backend).await;
    let keyed = async |person: &Person, path: &str, key: &str, body: Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        person.send("POST", path, &headers, body.to_string().into_bytes()).await
    };
    // They may create it, and not change what they have created.
    let body = json!({ "on": ["code"], "data": { "code": "A" } });
    let made = keyed(&guest, "/api/v1/items:upsert", "k1", body.clone()).await.expect(201).json();
    let again = keyed(&guest, "/api/v1/items:upsert", "k1", body.clone()).await.expect(201);
    assert_eq!((again.header("idempotency-replayed"), &again.json()["id"]), ("true", &made["id"]));
    keyed(&guest, "/api/v1/items:upsert", "k1b", body).await.expect(403);
    let batch = json!({ "operations": [{ "upsert": "items", "on": ["code"], "data": { "code": "B" } }] });
    keyed(&guest, "/api/v1:batch", "k2", batch.clone()).await.expect(200);
    let again = keyed(&guest, "/api/v1:batch", "k2", batch).await.expect(200);
    assert_eq!((again.header("idempotency-replayed"), &again.json()["results"][0]["code"]), ("true", &json!("B")));
    let body = json!({ "filter": "code:*" });
    let removed = keyed(&kim, "/api/v1/items:remove", "k3", body.clone()).await.expect(200).json();
    assert_eq!(removed["count"], 2);
    let again = keyed(&kim, "/api/v1/items:remove", "k3", body).await.expect(200);
    assert_eq!((again.header("idempotency-replayed"), again.json()), ("true", removed));
    assert_eq!(keyed(&kim, "/api/v1/items:remove", "k3", json!({ "filter": "code = x" })).await.expect(422).problem(), "idempotency-key-reused");
    app.finish().await;
}

/// What one part of a change does to another ends at once, and says which.
async fn changes_that_are_in_their_own_way_end(backend: Backend) {
    let (app, kim, _) = start(backend).await;
    let id = kim.create("items", json!({ "code": "A" })).await;
    let upsert = json!({ "upsert": "items", "on": ["code"], "data": { "code": "A", "place": 1 } });
    for first in [json!({ "update": "items", "id": id, "data": { "code": "B" } }), json!({ "delete": "items", "id": id })] {
        let refused = kim.post("/api/v1:batch", json!({ "operations": [first, upsert] })).await.expect(422).json();
        assert_eq!((&refused["errors"][0]["pointer"], &refused["errors"][0]["code"]), (&json!("/operations/1"), &json!("clash")), "{refused}");
    }
    // An earlier change that leaves the key alone is in nobody's way.
    let first = json!({ "update": "items", "id": id, "data": { "note": "x" } });
    kim.post("/api/v1:batch", json!({ "operations": [first, upsert, upsert] })).await.expect(200);
    let twice = json!({ "upsert": "items", "on": ["code"], "data": { "code": "new" } });
    kim.post("/api/v1:batch", json!({ "operations": [twice, twice] })).await.expect(409);
    // Two that go with each other.
    let other = kim.create("items", json!({ "code": "C", "up": id })).await;
    kim.patch(&format!("/api/v1/items/{id}"), json!({ "up": other })).await.expect(200);
    let refused = many(&kim, "remove", json!({ "filter": "code:*" })).await.expect(409);
    assert_eq!(refused.problem(), "conflict");
    assert!([&id, &other].iter().any(|id| refused.text().contains(id.as_str())), "{}", refused.text());
    assert_eq!(total(&kim).await, 2);
    kim.delete(&format!("/api/v1/items/{id}")).await.expect(204);
    assert_eq!(total(&kim).await, 0);
    app.finish().await;
}
