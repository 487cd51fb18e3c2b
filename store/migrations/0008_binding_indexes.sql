-- Each refresh of a registration moves it in this index, which is only asked once in ten minutes, for
-- what is over: to look at all of them then costs less.
DROP INDEX bindings_by_expiry;
