"""What a user mistypes, for the checker: never run. mypy must find a fault in each line that says which."""

import numpy as np

import loracast as lc

table = lc.Table.open("vitals.parquet")
tuned = lc.adapt(table)
result = lc.evaluate(table, [tuned])

lc.adapt_tabel(table)  # fault: attr-defined
lc.adapt(table, horizn=6)  # fault: call-arg
lc.adapt(table, horizon="6")  # fault: arg-type
lc.adapt(table, method=2)  # fault: arg-type
lc.adapt(table, training=lc.SplitSpec())  # fault: arg-type
lc.LoRA(rank="two")  # fault: arg-type
lc.LoRA(rnk=2)  # fault: call-arg
lc.TrainSpec(stepz=3)  # fault: call-arg
lc.evaluate(table, [3])  # fault: list-item
tuned.forecast(np.zeros(48), quantiles=[0.5])  # fault: call-overload
tuned.save(3)  # fault: arg-type
print(tuned.histroy)  # fault: attr-defined
result.leaderbord()  # fault: attr-defined
result.compare(tuned)  # fault: call-arg
lc.Study(data=table, arm=[])  # fault: call-arg
lc.WindowSpec(context=24).horizon.bit_length()  # fault: union-attr
