"""One search on its way: encode the query, send the legs, fuse, fetch the page."""
