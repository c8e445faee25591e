"""
Where settings come from: flags, the environment, files of secrets, `.env` in development, `runcast.toml`.

    table.py        every setting: its variable, flag and key, what it may be, what it means
    kinds.py        how the text of each kind of setting is read
    sources.py      the places that are asked, in their order
    toml_file.py    runcast.toml, or the table in pyproject.toml
    keys.py         the secret keys among them
    reading.py      all of that put together: values, what is wrong, what is doubtful
"""
