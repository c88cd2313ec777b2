"""What a device keeps of people, who can see it, and how it is made to go.

`stores` is the list of everything that is kept, `report` looks at the device as it is, `access`
tells who may read a file, and `purge` takes out what is too old. A further store is one more row
of `stores.STORES`.
"""
