"""Which loss is the best on some data: the losses of a configuration compared over paired seeds."""
