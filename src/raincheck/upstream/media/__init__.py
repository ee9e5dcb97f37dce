"""Pictures and videos that come from strangers: fetched, recognised and checked before anybody looks at them."""
