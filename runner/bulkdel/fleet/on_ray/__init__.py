"""Processes on the nodes of a Ray cluster. The only folder that imports Ray.

Ray places actors and says when one has died. It is trusted with nothing else: it may run two actors for one shard,
send a call twice, or not notice that a node is cut off. The log of the shard in the store keeps a row from being sent
twice, and the share of each process bounds the rate.
"""
