# A cluster that needs no settings: one default partition, no accounts, no modules.
