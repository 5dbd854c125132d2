"""The TensorBoard tab "RNN Diagnostics": what is written into event files, and the page that shows it.

`loader` is the entry point that TensorBoard imports at every start, `plugin` answers the page's requests, `writer` puts
numbers into a log under the format that `schema` describes, and `static/` holds the page.
"""
