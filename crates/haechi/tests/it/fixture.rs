//! A small app with every type, several roles and a secret.

pub(crate) const FILES: &[(&str, &str)] = &[
    (
        "haechi.toml",
        "roles = [\"member\", \"auditor\", \"admin\"]\n[classes]\nclinical = { like = \"secret\" }\n[anonymous]\nreach = [\"posts:list\", \"posts:read\"]\n",
    ),
    ("collections/users.toml", "[fields]\nteam = { type = \"text\" }\n"),
    (
        "collections/notes.toml",
        r#"
[collection]
owner = "author"
[fields]
title  = { type = "text", required = true, max_length = 200, class = "public" }
body   = { type = "text" }
rank   = { type = "int", min = 0, max = 1000 }
secret = { type = "text", class = "secret" }
mail   = { type = "email", class = "pii" }
slug   = { type = "text", unique = true, case = "fold" }
author = { type = "ref", to = "users", required = true }
parent = { type = "ref", to = "notes", on_delete = "cascade" }
friend = { type = "ref", to = "notes", on_delete = "set_null" }
"#,
    ),
    (
        "collections/things.toml",
        r#"
[fields]
text    = { type = "text", required = true }
folded  = { type = "text", case = "fold" }
site    = { type = "url" }
code    = { type = "uuid" }
kind    = { type = "enum", values = ["a", "b"], default = "a" }
small   = { type = "int" }
large   = { type = "int64" }
price   = { type = "decimal", precision = 10, scale = 2 }
ratio   = { type = "float" }
flag    = { type = "bool", default = false }
at      = { type = "datetime" }
day     = { type = "date" }
data    = { type = "json" }
tags    = { type = "list", of = "text" }
numbers = { type = "list", of = "int" }
"#,
    ),
    (
        "collections/posts.toml",
        "[fields]\ntitle = { type = \"text\", required = true, class = \"public\" }\npublished = { type = \"bool\", required = true, default = false }\nreviewer = { type = \"text\", class = \"pii\" }\n",
    ),
    ("collections/vault.toml", "[fields]\nword = { type = \"text\", required = true }\n"),
    (
        "policies/main.cedar",
        r#"
permit (principal in Role::"member", action in [Action::"list", Action::"read", Action::"create", Action::"update", Action::"delete", Action::"read_pii", Action::"write_pii"], resource is notes)
when { resource.author == principal };
permit (principal in Role::"auditor", action in [Action::"list", Action::"read"], resource is notes);
permit (principal in Role::"auditor", action == Action::"read_secret", resource is notes) when { resource.title == "open" };
permit (principal in Role::"member", action == Action::"write_secret", resource is notes) when { resource.author == principal };
permit (principal in Role::"member", action in [Action::"list", Action::"read", Action::"create", Action::"update", Action::"delete"], resource is things);
permit (principal, action in [Action::"list", Action::"read"], resource is posts) when { resource.published };
permit (principal in Role::"admin", action in [Action::"list", Action::"read", Action::"create", Action::"update", Action::"delete", Action::"read_pii", Action::"write_pii"], resource is posts);
permit (principal in Role::"admin", action in [Action::"list", Action::"read"], resource is users);
forbid (principal, action == Action::"update", resource is notes) when { resource has rank && resource.rank == 13 };
"#,
    ),
];
