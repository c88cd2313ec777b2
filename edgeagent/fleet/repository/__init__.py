"""The fleet's repository of models: keys, roles, signed metadata, and the files themselves.

A folder is all there is: ``public`` is what devices get (over MQTT by `fleet.serve`, or from any
web server), ``keys`` what must not lie about. Read `roles` first: who may sign what.
"""
